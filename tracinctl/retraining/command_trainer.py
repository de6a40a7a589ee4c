"""The user's own training program as a trainer: ``[train] command`` in ``tracinctl.toml``.

The command is split into words like in a shell, but no shell runs it; ``{placeholders}`` are filled in word by word, so
that a path with spaces stays one word. It runs in the project's folder, its output goes to a log, and it must write a
JSON file of metrics in one of two forms:

- ``{"scores": {item id: score, ...}}`` with a score for every held-out item, or at least for every judging item. Higher
  means a higher rank. Accuracy, loss and interval are computed from these, as for the built-in ranker. This form is
  better, because choosing a list needs scores of all held-out items. A program that keeps checkpoints can give the
  scores at each of them: ``{"stops": {epoch: {item id: score, ...}, ...}}``.
- ``{"accuracy": 0 to 1, "loss": number}``, measured by the program itself. The interval then covers other seeds, but
  not other held-out items. There is a verdict only if the command uses ``{judging_pairs_file}``, because other pairs
  may have chosen the list.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from tracinctl.errors import TrainingError, UsageError
from tracinctl.files import file_digest, write_text_atomic
from tracinctl.retraining.builtin_trainer import DividedData
from tracinctl.retraining.run_folder import run_folder
from tracinctl.retraining.trainer import END, Epochs, Trained, Training
from tracinctl.text import did_you_mean

PLACEHOLDERS: Final = (
    "frequency",
    "material",
    "exclusions_file",
    "seed",
    "output_dir",
    "metrics_file",
    "judging_pairs_file",
)
METRICS_FILE: Final = "{output_dir}/metrics.json"

_VERSION = 1
_TAIL = 12  # number of log lines in a message
_PLACEHOLDER = re.compile(r"\{(\w*)\}")


def check_command(command: str, metrics_file: str = METRICS_FILE) -> list[str]:
    """Split a command into words, and check it.

    Raises:
        UsageError: the command cannot be split, is empty, has an unknown placeholder, or does not use the exclusion
        list.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"[train] command {command!r} cannot be read: {error}", hint="Close the quotes.") from error
    for name in _PLACEHOLDER.findall(f"{command} {metrics_file}"):
        if name not in PLACEHOLDERS:
            raise UsageError(
                f"[train] command: there is no placeholder {{{name}}}",
                hint=did_you_mean(name, PLACEHOLDERS, f"There are {', '.join(PLACEHOLDERS)}."),
            )
    if "{exclusions_file}" not in command:
        raise UsageError(
            f"[train] command {command!r} does not use the exclusion list, so it would always train on everything",
            hint="For example  command = 'python train.py --exclusions-file {exclusions_file} --seed {seed}'",
        )
    return words


@dataclass(frozen=True)
class CommandTrainer(DividedData):
    """Run the user's command.

    Attributes:
        metrics_file: the file where it writes its metrics, with the same placeholders.
        root: the folder that it runs in.
        work: a folder for the files of each run.
    """

    command: str
    metrics_file: str
    root: Path
    work: Path
    material: str
    frequency: str

    # each training is a run of the command
    together: ClassVar = 1
    # so that the program ends however tracinctl ends
    needs_process: ClassVar = True

    @property
    def knows_judges(self) -> bool:
        """Whether the command gets the judging pairs."""
        return "{judging_pairs_file}" in self.command

    def key(self, training: Training) -> str:
        """A digest of the visible dependencies of the result: the command, files that it names, list, seed, data."""
        words = check_command(self.command, self.metrics_file)
        named = {word: file_digest(self.root / word) for word in words if (self.root / word).is_file()}
        parts: list[Any] = [_VERSION, self.command, self.metrics_file, named, self.material, self.frequency]
        parts += [training.seed, sorted(training.exclusions), self.data_digest]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def train(self, trainings: Sequence[Training], report: Epochs) -> list[Trained]:
        """Run the command for each training and read its metrics.

        Raises:
            TrainingError: the command cannot be run, fails, or writes no readable metrics.
        """
        return [self._train(training, report) for training in trainings]

    def _train(self, training: Training, report: Epochs) -> Trained:
        with run_folder(self.work, self.key(training)) as (folder, command_lock):
            values = self._written_for(training, folder)
            metrics = self.root / _filled(self.metrics_file, values)
            values["metrics_file"] = str(metrics)
            metrics.unlink(missing_ok=True)  # it may be from another run
            report(0, 1)
            words = [_filled(word, values) for word in check_command(self.command)]
            log = folder / "log.txt"
            self._run(words, log, command_lock)
            return self._read(metrics, log)

    def _written_for(self, training: Training, folder: Path) -> dict[str, str]:
        """Write the files that the command reads; return the values of the placeholders."""
        output, exclusions, pairs = folder / "output", folder / "excluded.txt", folder / "judging_pairs.csv"
        output.mkdir()
        write_text_atomic(exclusions, "\n".join([f"# {training.arm}", *training.exclusions]) + "\n")
        write_text_atomic(pairs, self._judging_pairs())
        return {
            "frequency": self.frequency,
            "material": self.material,
            "exclusions_file": str(exclusions),
            "seed": str(training.seed),
            "output_dir": str(output),
            "judging_pairs_file": str(pairs),
        }

    def _judging_pairs(self) -> str:
        data = self.data
        pairs = data.test_pairs.take(self.division.rows(data, "judging"))
        ids = data.test.ids
        rows = zip(pairs.first.tolist(), pairs.second.tolist(), pairs.target.tolist(), strict=True)
        return "id1,id2,target\n" + "".join(f"{ids[i]},{ids[j]},{y}\n" for i, j, y in rows)

    def _run(self, words: list[str], log: Path, lock: int | None) -> None:
        try:
            with log.open("wb") as log_file:
                code = subprocess.run(  # noqa: S603 - the user's own command, without a shell
                    words,
                    cwd=self.root,
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=subprocess.STDOUT,
                    pass_fds=() if lock is None else (lock,),
                    check=False,
                ).returncode
        except OSError as error:
            raise TrainingError(
                f"[train] command cannot be run: {words[0]}: {error.strerror or error}",
                hint="Give a program on PATH, or its path.",
            ) from error
        if code:
            raise TrainingError(
                f"[train] command ended with exit code {code}: {shlex.join(words)}{_tail(log)}",
                hint=f"See its whole output in {log}",
            )

    def _read(self, path: Path, log: Path) -> Trained:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise TrainingError(
                f"[train] command wrote no readable metrics to {path}: {reason}{_tail(log)}",
                hint="Let it write JSON there; see {metrics_file}, or metrics_file in [train].",
            ) from error
        try:
            return self._trained(content)
        except (TypeError, ValueError, OverflowError) as error:
            raise TrainingError(
                f"the metrics in {path} cannot be used: {error}",
                hint='Write {"scores": {item id: score}} for every judging item, or {"accuracy": x, "loss": x}.',
            ) from error

    def _trained(self, content: Any) -> Trained:
        if not isinstance(content, dict):
            raise TypeError(f"it is a {type(content).__name__}, not an object")
        if "scores" not in content and "stops" not in content:
            accuracy, loss = (_finite(content, name) for name in ("accuracy", "loss"))
            if not 0 <= accuracy <= 1:
                raise ValueError("an accuracy that is not from 0 to 1 (a share, not per cent)")
            return Trained({}, accuracy=accuracy, loss=loss)
        stops = content.get("stops", {str(END): content.get("scores")})
        if not isinstance(stops, dict) or not stops or not all(epoch.isdecimal() for epoch in stops):
            raise ValueError("`stops` must hold scores by epoch, for example at 10 and 20")
        at_epochs = [stops[epoch] for epoch in sorted(stops, key=int)]
        if not all(isinstance(scores, dict) for scores in at_epochs):
            raise TypeError("scores must be numbers by item id")
        if missing := [name for name in self.division.judging if name not in at_epochs[0]]:
            raise ValueError(f"no number for {missing[0]!r}")
        names = [name for name in self.data.test.ids if name in at_epochs[0]]
        scores = {name: tuple(_finite(at_epoch, name) for at_epoch in at_epochs) for name in names}
        return Trained(scores, tuple(sorted(map(int, stops))))


def _finite(numbers: dict[str, Any], name: str) -> float:
    """A number by name; ValueError if it is missing or not finite."""
    if name not in numbers:
        raise ValueError(f"no number for {name!r}")
    value = numbers[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} for {name!r} is not a finite number")
    return float(value)


def _filled(word: str, values: dict[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], word)


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
    return "".join(f"\n{line}" for line in lines) if lines else "\nIt printed nothing."
