"""Match the names of a checkpoint's weights to those of the model.

Wrappers of training add prefixes to the names: ``module.`` (DataParallel), ``model.`` and similar ones (Lightning),
also nested. Wrappers of the model or of its parts, such as ``torch.compile``, add ``_orig_mod.`` and the like anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import torch

from tracinctl.engine.checkpoints.files import ANY_PART
from tracinctl.errors import CheckpointError
from tracinctl.text import first_few

_OF_PARTS = re.compile(r"(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.")
_WRAPPERS = ("module.", "model.")


def without_wrappers(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state without wrapper prefixes that all its names have."""
    bare = {_unwrapped(name): value for name, value in state.items()}
    while prefix := next((p for p in _WRAPPERS if bare and all(name.startswith(p) for name in bare)), None):
        bare = {name.removeprefix(prefix): value for name, value in bare.items()}
    return bare


def state_for(
    model: torch.nn.Module, state: Mapping[str, torch.Tensor], checkpoint: str
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The part of a checkpoint's state for the model, under the model's names, and notes on the rest.

    Weights that the model shares may occur once. Other parts of the checkpoint (a loss, metrics) are left out if the
    names show the difference. The model makes buffers of whole numbers (a count of batches, positions) itself, so they
    may be missing, or be present although this model has none.

    Raises:
        CheckpointError: names are missing, unexpected or of another shape (the message names the first of each kind),
            or two parts of the checkpoint fit the model.
    """
    wanted, shared = model.state_dict(), _shared(model)
    state = {_filled_in(name, wanted): value for name, value in state.items()}
    state = {_of_weight_norm(name, state, wanted): value for name, value in state.items()}
    renamed = dict(state if wanted.keys() <= state.keys() else _renamed(wanted, state, shared, checkpoint))
    for name, others in shared.items():
        present = next((alias for alias in others if alias in renamed), None)
        if present is not None:
            renamed.setdefault(name, renamed[present])
    unsaved = {name for name, _ in model.named_buffers()} - wanted.keys()
    model_buffers = [name for name in wanted if name not in renamed and _is_whole(wanted[name])]
    extra = [name for name in renamed if name not in wanted and (name in unsaved or _is_whole(renamed[name]))]
    renamed |= {name: wanted[name] for name in model_buffers}
    for name in extra:
        del renamed[name]
    _check_fit(wanted, renamed, checkpoint)
    for name, others in shared.items():
        if not torch.equal(renamed[name], renamed[others[0]]):
            raise CheckpointError(
                f"checkpoint {checkpoint} has different weights {others[0]} and {name}, which the model shares",
                hint="Build the model as it was trained, without sharing these weights.",
            )
    kinds = {
        "lacks buffers that the model makes itself": model_buffers,
        "has buffers that the model does not have": extra,
    }
    return renamed, [f"checkpoint {checkpoint} {text}" for text in first_of_each(kinds)]


def misfits(wanted: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> dict[str, list[str]]:
    """The weights of a state that do not fit a model's, by kind."""
    both = [(name, wanted[name], state[name]) for name in wanted if name in state]
    return {
        "missing": [name for name in wanted if name not in state],
        "unexpected": [name for name in state if name not in wanted],
        "wrong shape": [
            f"{name} is {tuple(theirs.shape)}, but the model has {tuple(ours.shape)}"
            for name, ours, theirs in both
            if theirs.shape != ours.shape
        ],
        "complex": [name for name, ours, theirs in both if theirs.is_complex() and not ours.is_complex()],
        # quantised weights mean nothing without their scale
        "whole numbers, as in a quantised model": [
            name for name, ours, theirs in both if _is_whole(theirs) and not _is_whole(ours)
        ],
    }


def first_of_each(kinds: Mapping[str, Sequence[str]]) -> list[str]:
    """``missing: a, b`` for each kind of names that has any."""
    return [f"{kind}: {first_few(names)}" for kind, names in kinds.items() if names]


def _filled_in(name: str, wanted: Mapping[str, torch.Tensor]) -> str:
    """The name with the model's part in the place of ``ANY``, or without it."""
    head, mark, tail = name.partition(f".{ANY_PART}.")
    if not mark:
        return name
    parts = dict.fromkeys(key.split(".")[1] for key in wanted if key.startswith(f"{head}."))
    deeper = [f"{head}.{part}.{tail}" for part in parts if f"{head}.{part}.{tail}" in wanted]
    return deeper[0] if len(deeper) == 1 and f"{head}.{tail}" not in wanted else f"{head}.{tail}"


def _of_weight_norm(name: str, state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> str:
    """The name of torch's newer weight_norm, if the model has that one and the checkpoint the older one."""
    combined, end = name[:-2], name[-2:]
    if end not in {"_g", "_v"} or not {f"{combined}_g", f"{combined}_v"} <= state.keys():
        return name
    module, dot, weight = combined.rpartition(".")
    new = f"parametrizations.{weight}.original{int(end == '_v')}"
    return f"{module}{dot}{new}" if any(f".{key}".endswith(f".{new}") for key in wanted) else name


def bare_name(name: str) -> str:
    """The name of a weight without wrapper prefixes."""
    name = _unwrapped(name)
    while prefix := next((p for p in _WRAPPERS if name.startswith(p)), None):
        name = name.removeprefix(prefix)
    return name


def _is_whole(tensor: torch.Tensor) -> bool:
    """Whether a tensor has whole numbers, which no parameter has."""
    return not tensor.is_floating_point() and not tensor.is_complex()


def _check_fit(wanted: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], checkpoint: str) -> None:
    kinds = misfits(wanted, state)
    if wrong := first_of_each(kinds):
        hint = "Check model, or `architecture` under [ranker] in tracinctl.toml."
        if len(wrong) == 1 and kinds["unexpected"]:
            begin = kinds["unexpected"][0].partition(".")[0]
            hint = f"If the model does not need them, give ignore_keys, for example {begin}*."
        raise CheckpointError(f"checkpoint {checkpoint} does not fit the model: {'; '.join(wrong)}", hint=hint)


def _unwrapped(name: str) -> str:
    return _OF_PARTS.sub("", name)


def _shared(model: torch.nn.Module) -> dict[str, list[str]]:
    """Map each shared parameter's name to its other names."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {name: same for same in names.values() if len(same) > 1 for name in same}


def _renamed(
    wanted: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    shared: Mapping[str, list[str]],
    checkpoint: str,
) -> Mapping[str, torch.Tensor]:
    """The state under the model's names, if adding a prefix on one side makes them equal."""
    bare = {_unwrapped(name): value for name, value in state.items()}
    names = {_unwrapped(name): name for name in wanted}
    prefixes = list(dict.fromkeys(_prefixes(bare)))
    hits = {p: sum(p + name in bare for name in names) for p in prefixes}
    fitting = [p for p in prefixes if _all_there(p, names, bare, shared)]
    if len(fitting) > 1 and "" not in fitting:
        raise CheckpointError(
            f"checkpoint {checkpoint} has several states that fit the model, under {first_few([*map(repr, fitting)])}",
            hint=f"Leave out all but the trained one with ignore_keys, for example {fitting[-1]}*.",
        )
    if fitting:
        prefix = "" if "" in fitting else fitting[0]
        return {names.get(n, n): v for k, v in bare.items() if k.startswith(prefix) and (n := k[len(prefix) :])}
    # the model is wrapped, but the checkpoint is not
    for prefix in dict.fromkeys(_prefixes(names)):
        if prefix and all(name.startswith(prefix) and name.removeprefix(prefix) in bare for name in names):
            return {names.get(prefix + name, name): value for name, value in bare.items()}
    best = max(prefixes, key=lambda p: hits[p])
    if not hits[best]:
        return state
    return {names.get(n, n): v for k, v in bare.items() if (n := k.removeprefix(best))}


def _prefixes(names: Iterable[str]) -> Iterable[str]:
    yield ""
    for name in names:
        parts = name.split(".")[:-1]
        yield from (".".join(parts[: k + 1]) + "." for k in range(len(parts)))


def _all_there(
    prefix: str, names: Mapping[str, str], bare: Mapping[str, torch.Tensor], shared: Mapping[str, list[str]]
) -> bool:
    return all(
        prefix + name in bare or any(prefix + _unwrapped(alias) in bare for alias in shared.get(full, ()))
        for name, full in names.items()
    )
