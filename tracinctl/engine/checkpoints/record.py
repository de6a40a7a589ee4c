"""The data on training in a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tracinctl.engine.checkpoints.rates import Rates
from tracinctl.engine.checkpoints.unpickle import Inert
from tracinctl.engine.options import LOSSES
from tracinctl.text import first_few

RUN = "run"
"""Key in a checkpoint's arguments for the fingerprint of a training by tracinctl."""

_SETTINGS = ("args", "hyper_parameters", "hparams", "config", "cfg", "settings", "opt", "training_args")
_EPOCHS = ("epochs", "num_epochs", "max_epochs", "n_epochs", "num_train_epochs")


@dataclass(frozen=True)
class CheckpointRecord:
    """The data on training in a checkpoint.

    Attributes:
        rates: its learning rates.
        unit: ``epoch`` or ``step``; empty if unknown.
        done: epochs or steps so far; None if unknown.
        planned: epochs or steps of the whole training; None if unknown.
        loss: the pairwise loss; None if unknown.
        margin: margin of the loss; None if unknown.
        run: fingerprint of the training by tracinctl; None for another program's.
        weights: SHA-256 of the names, shapes and numbers of its state, equal in copies with other names.
    """

    rates: Rates = field(default_factory=Rates)
    unit: str = ""
    done: int | None = None
    planned: int | None = None
    loss: str | None = None
    margin: float | None = None
    run: str | None = None
    weights: str = ""

    @property
    def moment(self) -> str:
        """The moment of saving, in words."""
        return "" if self.done is None else f"{self.unit} {self.done}"


def record_of(content: Mapping[str, Any], rates: Rates) -> CheckpointRecord:
    """The record in the content of a checkpoint file, without the digest of its weights."""
    settings = dict(_settings(content))
    loss = settings.get("loss_type", settings.get("loss"))
    epoch, step = content.get("epoch"), content.get("global_step")
    unit, done = ("epoch", epoch) if _is_count(epoch) else ("step", step)
    planned = next((settings[name] for name in _EPOCHS if _is_count(settings.get(name))), None)
    margin, run = settings.get("margin"), settings.get(RUN)
    return CheckpointRecord(
        rates,
        unit if _is_count(done) else "",
        done if _is_count(done) else None,
        planned if unit == "epoch" else None,
        loss if isinstance(loss, str) else None,
        float(margin) if isinstance(margin, (int, float)) and not isinstance(margin, bool) else None,
        run if isinstance(run, str) else None,
    )


def weights_digest(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of a state's names, dtypes, shapes and numbers, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name]
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode(errors="replace"))
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def notes_on_training(
    names: Sequence[str], records: Sequence[CheckpointRecord], loss: str, margin: float | None
) -> list[str]:
    """Notes on checkpoints whose training differs from the settings of the scores, or ended early.

    ``loss`` and ``margin`` are those of the scores; the margin is None if the loss has none.
    """
    notes = []
    named = list(zip(names, records, strict=True))
    losses = [(name, r.loss) for name, r in named if r.loss and r.loss != loss and (r.loss in LOSSES or ":" in r.loss)]
    margins = [(name, r.margin) for name, r in named if r.margin not in {None, margin}]
    if losses:
        which = first_few([name for name, _ in losses])
        notes.append(f"{which}: trained with the loss {losses[0][1]}, but the scores use {loss}")
    elif margins and margin is not None:
        which = first_few([name for name, _ in margins])
        notes.append(f"{which}: trained with margin {margins[0][1]:g}, but the scores use margin {margin:g}")
    if len({record.run for record in records if record.run}) > 1:
        notes.append("the checkpoints come from several trainings")
    last = records[-1]
    if last.done is not None and last.planned is not None and last.done + 1 < last.planned:
        notes.append(
            f"training ended early: the last checkpoint, {names[-1]}, is from {last.unit} {last.done} of {last.planned}"
        )
    return notes


def content_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of a state in memory and of the data beside it."""
    digest = hashlib.sha256()
    for name, value in content.items():
        inner = value if isinstance(value, Mapping) else {str(name): value} if isinstance(value, torch.Tensor) else None
        if inner is None:
            text = repr(value)
        else:
            only_tensors = all(isinstance(part, torch.Tensor) for part in inner.values())
            text = weights_digest(inner) if only_tensors else content_digest(inner)
        digest.update(f"{name}\0{text}\0".encode(errors="replace"))
    return digest.hexdigest()


def _settings(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Settings beside the state, and those in a dictionary or namespace of settings."""
    yield from ((str(key), value) for key, value in content.items())
    for name in _SETTINGS:
        part = content.get(name)
        values = part.state or part if isinstance(part, Inert) else part
        if isinstance(values, Mapping):
            yield from ((str(key), value) for key, value in values.items())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
