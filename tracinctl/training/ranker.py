"""Train the built-in ranker on ranking pairs, with or without an exclusion list.

Every checkpoint is complete or absent. After an interruption, the same call continues from the last checkpoint and
gives the result of an uninterrupted run. The order of pairs in an epoch depends only on seed and epoch, so a checkpoint
is all that a run needs to continue.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from tracinctl.data.leave_out import LeftOut, leave_out
from tracinctl.data.pairs import IntArray, Pairs, RankingData
from tracinctl.data.pairs_file import write_pairs_file
from tracinctl.engine.checkpoints.record import RUN
from tracinctl.engine.fingerprint import code_digest
from tracinctl.engine.losses import resolve_loss
from tracinctl.errors import TrainingError
from tracinctl.files import locked, write_bytes_atomic
from tracinctl.progress import Progress, ProgressCallback, no_progress
from tracinctl.training.folder import CHECKPOINT_PREFIX, PAIRS_FILE, UNTRAINED, TrainingFolder
from tracinctl.training.loss import checked_loss, ghm_weights, row_losses, trained_rows
from tracinctl.training.models import Ranker, build_ranker
from tracinctl.training.options import TrainSettings

_ITEMS_AT_ONCE: Final = 256  # batch size in eval mode
_MEASURES: Final = {  # with their names in a checkpoint, in which accuracies are percentages
    "train_loss": "train_loss_main",
    "train_accuracy": "train_accuracy",
    "held_out_loss": "val_loss_main",
    "held_out_accuracy": "val_accuracy",
}


@dataclass(frozen=True)
class TrainResult:
    """The result of training: the pairs used, the accuracy, and the ranker.

    Attributes:
        left: the pairs trained on, including repeated draws, and how each listed id was used.
        train_accuracy, held_out_accuracy: share of pairs ranked correctly after the last epoch; None without pairs.
        train_loss, held_out_loss: mean loss of the pairs; None without pairs.
        untrained_accuracy: held-out accuracy before the first epoch; None without pairs.
        went_on_from: the epoch of the checkpoint that the run continued from; 0 for a new run.
        checkpoints: the written files by epoch; empty without an output folder.
        ties_left_out: number of these pairs that are ties without a gradient.
        model: the ranker after the last epoch, in eval mode.
    """

    left: LeftOut
    train_accuracy: float | None
    train_loss: float | None
    held_out_accuracy: float | None
    held_out_loss: float | None
    untrained_accuracy: float | None
    went_on_from: int
    checkpoints: list[Path]
    ties_left_out: int
    model: Ranker


def train_ranker(
    data: RankingData,
    settings: TrainSettings,
    output_dir: str | Path | None,
    *,
    exclusions: Iterable[str] | None = None,
    in_use: str = "",
    features: Mapping[str, Any] = MappingProxyType({}),
    progress: ProgressCallback = no_progress,
) -> TrainResult:
    """Train with Adam on ``data.train_pairs`` and write checkpoints and the pairs trained on.

    A step forwards all items of its pairs in one batch, each once, so that BatchNorm counts an item once even if it is
    in several pairs. Items of different shapes cannot share a batch; each shape then has its own batch and statistics.

    Args:
        data: items and pairs; the held-out loss decides when to halve the learning rate (the training loss, if there
            are no held-out pairs).
        settings: the training settings.
        output_dir: gets ``model_epoch_<N>.pt`` every ``checkpoint_interval`` epochs and at the end, ``pairs.csv``, and
            with exclusions ``excluded_pairs.txt``; None writes nothing.
        exclusions: ids of training pairs (``<id1>_<id2>``, only in that order) and items to leave out.
        in_use: the file that was made from the checkpoints in ``output_dir``, which a run with other settings or data
            then does not replace; empty = it replaces them. The same run continues in any case.
        features: how the inputs were made, which is written into the checkpoints.
        progress: receives epochs, and batches within an epoch.

    Raises:
        TrainingError: the list has no id of these data, no training pair is left, ``output_dir`` has another program's
            checkpoints or checkpoints that are in use, or the loss is not finite.
    """
    exclusions = None if exclusions is None else list(exclusions)
    left_out = leave_out(data, exclusions)
    data = RankingData(data.train, left_out.pairs, data.test, data.test_pairs, data.score)
    if not left_out.rows:
        raise TrainingError(
            "there are no training pairs", hint="Check that the pairs file has lines with the split train."
        )
    if not len(left_out.pairs):
        raise TrainingError(
            f"the exclusion list leaves none of the {left_out.rows:,} training pairs",
            hint="Make a shorter list: tracinctl exclude with a lower threshold, more votes or a cap.",
        )
    if left_out.unknown and not (left_out.pair_ids or left_out.item_ids or left_out.held_out):
        raise TrainingError(
            f"no line of the exclusion list is the id of a training pair or item, for example {left_out.unknown[0]!r}",
            hint="Give the list of this material and frequency with one id per line, or leave it out to use all pairs.",
        )
    run = _Run(data, settings, exclusions, features)
    if not len(run.pairs):
        raise TrainingError(
            f"all {len(left_out.pairs):,} training pairs are ties, which the loss {settings.loss_type} leaves out",
            hint="Use the loss logistic, which counts a tie as half a win for each item.",
        )
    if output_dir is None:
        files = run.train(progress)
    else:
        place = Path(output_dir)
        with locked(place.absolute(), wait=0):  # another run would mix its checkpoints with this one's
            files = run.train(progress, TrainingFolder(place, run.fingerprint, in_use=in_use))
    return TrainResult(
        left=left_out,
        **run.measures,
        untrained_accuracy=run.untrained_accuracy,
        went_on_from=run.went_on_from,
        checkpoints=files,
        ties_left_out=len(left_out.pairs) - len(run.pairs),
        model=run.model.eval(),
    )


class _Run:
    """Model, optimizer, schedule and measures between two epochs."""

    def __init__(
        self, data: RankingData, settings: TrainSettings, exclusions: Sequence[str] | None, features: Mapping[str, Any]
    ) -> None:
        self.data, self.settings, self.exclusions, self.features = data, settings, exclusions, features
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.model = build_ranker(settings.architecture, settings.normalise)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=0.5, patience=settings.patience
        )
        self.loss = checked_loss(settings)
        self.pairs = trained_rows(data.train_pairs, settings)
        self.epoch = self.went_on_from = 0
        held_out = score_items(self.model, data.test.inputs) if len(data.test_pairs) else torch.zeros(0)
        self.untrained_accuracy = pair_accuracy(held_out, data.test_pairs)
        self.measures: dict[str, float | None] = dict.fromkeys(_MEASURES)

    def train(self, progress: ProgressCallback, folder: TrainingFolder | None = None) -> list[Path]:
        """Train from the folder's last checkpoint to the last epoch; return the folder's checkpoints by epoch."""
        if folder is not None:
            if folder.last is not None:
                self.go_on_from(folder.last)
            write_pairs_file(folder.place / PAIRS_FILE, self.data)
            folder.keep_left_out(self.exclusions)
        for epoch in range(self.epoch + 1, self.settings.epochs + 1):
            self.train_one_epoch(epoch, progress)
            if folder is not None and (epoch % self.settings.checkpoint_interval == 0 or epoch == self.settings.epochs):
                path = folder.place / f"{CHECKPOINT_PREFIX}{epoch}.pt"
                write_bytes_atomic(path, self.checkpoint())
                folder.existing[epoch] = path
        return [] if folder is None else folder.finish()

    def train_one_epoch(self, epoch: int, progress: ProgressCallback) -> None:
        settings, pairs = self.settings, self.pairs
        report = functools.partial(Progress, "training", total=settings.epochs, unit="epochs", name=f"epoch {epoch}")
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(pairs))
        batches = [order[at : at + settings.batch_size] for at in range(0, len(order), settings.batch_size)]
        total_loss, right = 0.0, 0
        self.model.train()
        for k, rows in enumerate(batches):
            batch = pairs.take(rows)
            items, places = np.unique(np.stack([batch.first, batch.second]), return_inverse=True)
            scores = score_rows(self.model, self.data.train.inputs, items)
            s_i, s_j = scores[torch.from_numpy(places.reshape(2, -1))]
            loss = self._losses(s_i, s_j, batch, weighted=True).mean()
            if not torch.isfinite(loss):
                raise self._diverged(f"the loss is {loss.item()} in epoch {epoch}, batch {k + 1} of {len(batches)}")
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no types
            self.optimizer.step()
            total_loss += loss.item() * len(rows)
            right += int(((s_i - s_j) * torch.from_numpy(batch.target) > 0).sum())
            progress(report(epoch - 1, inner_done=k + 1, inner_total=len(batches), inner_unit="batches"))
        ranked = len(pairs) - int((pairs.target == 0).sum())
        self._finish(epoch, train_loss=total_loss / len(pairs), train_accuracy=right / max(1, ranked))
        progress(report(epoch, note=self._note()))

    def _losses(self, s_i: torch.Tensor, s_j: torch.Tensor, pairs: Pairs, *, weighted: bool) -> torch.Tensor:
        """The loss of each pair, optionally weighted by its row and by the batch's gradient density (``ghm``)."""
        target, margin = torch.from_numpy(pairs.target).to(s_i.dtype), _optional(pairs.margin, s_i)
        losses = row_losses(self.loss, s_i, s_j, target, self.settings.margin, margin)
        if not weighted:
            return losses
        if self.loss == "ghm":
            losses = losses * ghm_weights(s_i, s_j, target, self.settings, margin)
        weight = _optional(pairs.weight, s_i)
        return losses if weight is None else losses * weight

    def _finish(self, epoch: int, *, train_loss: float, train_accuracy: float) -> None:
        pairs, held_out_loss = self.data.test_pairs, None
        scores = score_items(self.model, self.data.test.inputs)
        if not torch.isfinite(scores).all():
            raise self._diverged(f"after epoch {epoch} some held-out scores are NaN or infinite")
        if len(pairs):
            s_i, s_j = scores[torch.from_numpy(pairs.first)], scores[torch.from_numpy(pairs.second)]
            held_out_loss = float(self._losses(s_i, s_j, pairs, weighted=False).mean())
        self.scheduler.step(train_loss if held_out_loss is None else held_out_loss)
        self.epoch = epoch
        self.measures = {
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "held_out_loss": held_out_loss,
            "held_out_accuracy": pair_accuracy(scores, pairs),
        }

    def _diverged(self, how: str) -> TrainingError:
        rate = self.optimizer.param_groups[0]["lr"]
        return TrainingError(f"training diverged: {how}", hint=f"Try a smaller `learning_rate` than {rate:g}.")

    def _note(self) -> str:
        accuracy = self.measures["held_out_accuracy"]
        held_out = "" if accuracy is None else f", held-out accuracy {accuracy:.1%}"
        return f"loss {self.measures['train_loss']:.4f}{held_out}"

    def checkpoint(self) -> bytes:
        """The bytes of a checkpoint: tensors, numbers and text only, the same for the same run."""
        content = {
            "epoch": self.epoch,
            "model_state_dict": self.model.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "scheduler_state_dict": self.scheduler.state_dict(),
            "args": asdict(self.settings)
            | {**self.features, RUN: self.fingerprint, UNTRAINED: self.untrained_accuracy},
        }
        for name, key in _MEASURES.items():
            value = self.measures[name]
            content[key] = None if value is None else value * (100 if key.endswith("accuracy") else 1)
        buffer = io.BytesIO()  # torch would write a path's name into the file
        torch.save(_plain(content), buffer)
        return buffer.getvalue()

    def go_on_from(self, content: Mapping[str, Any]) -> None:
        self.model.load_state_dict(content["model_state_dict"])
        self.optimizer.load_state_dict(content["optimizer_state_dict"])
        self.scheduler.load_state_dict(content["scheduler_state_dict"])
        self.epoch = self.went_on_from = content["epoch"]
        for name, key in _MEASURES.items():
            value = content[key]
            self.measures[name] = None if value is None else value / (100 if key.endswith("accuracy") else 1)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A digest, in 16 characters, of the settings, the code of a user's loss, the items and the pairs."""
        digest = hashlib.sha256(json.dumps(asdict(self.settings), sort_keys=True).encode())
        if callable(loss := resolve_loss(self.settings.loss_type)):
            digest.update(code_digest(loss).encode())
        add_data(digest, self.data)
        return digest.hexdigest()[:16]


def _plain(value: Any) -> Any:
    """A copy in which equal texts are one object, because the bytes of a pickle depend on object identity."""
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(part) for part in value)
    return value.clone() if isinstance(value, torch.Tensor) else value


def _optional(values: np.ndarray[Any, Any] | None, like: torch.Tensor) -> torch.Tensor | None:
    return None if values is None else torch.from_numpy(values).to(like.dtype)


def score_items(model: nn.Module, inputs: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
    """Scores of items in eval mode: shape (items,), float32."""
    model.eval()
    with torch.no_grad():
        parts = [
            score_rows(model, inputs, np.arange(start, min(start + _ITEMS_AT_ONCE, len(inputs))))
            for start in range(0, len(inputs), _ITEMS_AT_ONCE)
        ]
    return torch.cat(parts) if parts else torch.zeros(0)


def pair_accuracy(scores: torch.Tensor, pairs: Pairs) -> float | None:
    """Share of pairs whose scores differ in the target's direction, 0 to 1; None if all pairs are ties."""
    pairs = pairs.take(pairs.target != 0)
    if not len(pairs):
        return None
    difference = scores[torch.from_numpy(pairs.first)] - scores[torch.from_numpy(pairs.second)]
    return float((difference * torch.from_numpy(pairs.target) > 0).double().mean())


def score_rows(
    score: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor | Sequence[torch.Tensor], rows: IntArray
) -> torch.Tensor:
    """Scores of some items, with one batch per shape of items."""
    if isinstance(inputs, torch.Tensor):
        return score(inputs[torch.from_numpy(rows)])
    groups: dict[torch.Size, list[int]] = {}
    for place, row in enumerate(rows.tolist()):
        groups.setdefault(inputs[row].shape, []).append(place)
    parts = [score(torch.stack([inputs[rows[place]] for place in places])) for places in groups.values()]
    order = torch.tensor([place for places in groups.values() for place in places])
    return torch.cat(parts)[torch.argsort(order)]


def add_data(digest: Any, data: RankingData) -> None:
    """Add the items and pairs to a digest of ``hashlib``."""
    for samples, pairs in ((data.train, data.train_pairs), (data.test, data.test_pairs)):
        digest.update(json.dumps(samples.ids).encode())
        if isinstance(samples.inputs, (torch.Tensor, list)):  # other inputs of a source have no bytes
            for x in samples.inputs:
                digest.update(str(tuple(x.shape)).encode() + x.contiguous().numpy().tobytes())
        for values in (pairs.first, pairs.second, pairs.target):
            digest.update(values.tobytes() + b"|")
        for name in ("weight", "margin"):
            if (values := getattr(pairs, name)) is not None:
                digest.update(name.encode() + values.tobytes() + b"|")
