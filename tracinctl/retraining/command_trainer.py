"""A training program of the user's own as one arm of a retraining: ``[train] command`` in ``tracinctl.toml``.

The command is split into words as a shell does, but no shell runs it; ``{placeholders}`` are filled in word by word, so
that a path with blanks stays one word. It runs in the project's folder, its output goes to a log, and it must leave a
JSON file of metrics, in one of two forms:

- ``{"scores": {item id: score, ...}}`` with a score for every judging item (others are let be). Higher ranks above.
  Accuracy, loss and interval are then made of these as for the built-in ranker. This is the better form.
- ``{"accuracy": 0 to 1, "loss": number}``, measured by the program itself. The interval then allows for other seeds and
  not for other held-out items. There is a verdict only where the command names ``{judging_pairs_file}``: of other pairs
  nobody can know whether they had chosen the list.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tracinctl.data.pairs import RankingData
from tracinctl.errors import TrainingError, UsageError
from tracinctl.files import file_digest, write_text_atomic
from tracinctl.retraining.builtin_trainer import data_digest
from tracinctl.retraining.judging import Division
from tracinctl.retraining.trainer import Epochs, Trained, Training
from tracinctl.text import nearest

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
_TAIL = 12  # lines of a log that a message shows
_PLACEHOLDER = re.compile(r"\{(\w*)\}")


def check_command(command: str, metrics_file: str = METRICS_FILE) -> list[str]:
    """The words of a command, checked.

    Raises:
        UsageError: it cannot be split, is empty, names an unknown placeholder, or does not take the exclusion list.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"[train] command {command!r} cannot be read: {error}", hint="Close the quotes.") from error
    for name in _PLACEHOLDER.findall(f"{command} {metrics_file}"):
        if name not in PLACEHOLDERS:
            near = nearest(name, PLACEHOLDERS)
            raise UsageError(
                f"[train] command: there is no placeholder {{{name}}}",
                hint=f"Did you mean {{{near}}}?"
                if near
                else f"There are {', '.join(f'{{{each}}}' for each in PLACEHOLDERS)}.",
            )
    if "{exclusions_file}" not in command:
        raise UsageError(
            f"[train] command {command!r} does not take the exclusion list, so it would always train on everything",
            hint="For example  command = 'python train.py --exclusions-file {exclusions_file} --seed {seed}'",
        )
    return words


@dataclass(frozen=True)
class CommandTrainer:
    """Runs the user's command.

    Attributes:
        command: as in the settings.
        metrics_file: where it leaves its metrics, with the same placeholders.
        root: the folder that it runs in.
        work: a folder for what each run reads and writes.
        material, frequency: of what.
        data, division: items and pairs, and which judge.
    """

    command: str
    metrics_file: str
    root: Path
    work: Path
    material: str
    frequency: str
    data: RankingData
    division: Division

    @property
    def told_who_judges(self) -> bool:
        """Whether the command is given the judging pairs."""
        return "{judging_pairs_file}" in self.command

    def key(self, training: Training) -> str:
        """What the result depends on as far as can be seen: the command, files that it names, list, seed, data."""
        words = check_command(self.command, self.metrics_file)
        named = {word: file_digest(self.root / word) for word in words if (self.root / word).is_file()}
        parts: list[Any] = [_VERSION, self.command, self.metrics_file, named, self.material, self.frequency]
        parts += [training.seed, sorted(training.exclusions), data_digest(self.data, self.division)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def train(self, training: Training, report: Epochs) -> Trained:
        """Run the command and read its metrics.

        Raises:
            TrainingError: it cannot be run, fails, or leaves no metrics that can be read.
        """
        folder = self.work / f"run-{self.key(training)}"
        shutil.rmtree(folder, ignore_errors=True)
        output = folder / "output"
        output.mkdir(parents=True)
        exclusions, pairs, log = folder / "excluded.txt", folder / "judging_pairs.csv", folder / "log.txt"
        write_text_atomic(exclusions, "\n".join([f"# {training.arm}", *training.exclusions]) + "\n")
        write_text_atomic(pairs, self._judging_pairs())
        values = {
            "frequency": self.frequency,
            "material": self.material,
            "exclusions_file": str(exclusions),
            "seed": str(training.seed),
            "output_dir": str(output),
            "judging_pairs_file": str(pairs),
        }
        metrics = self.root / _filled(self.metrics_file, values)
        values["metrics_file"] = str(metrics)
        metrics.unlink(missing_ok=True)  # what another run left there is none of this one's
        report(0, 1)
        self._run([_filled(word, values) for word in check_command(self.command)], log)
        trained = self._read(metrics, log)
        shutil.rmtree(folder, ignore_errors=True)
        return trained

    def _judging_pairs(self) -> str:
        data = self.data
        pairs = data.test_pairs.take(self.division.rows(data, "judging"))
        ids = data.test.ids
        rows = zip(pairs.first.tolist(), pairs.second.tolist(), pairs.target.tolist(), strict=True)
        return "id1,id2,target\n" + "".join(f"{ids[i]},{ids[j]},{y}\n" for i, j, y in rows)

    def _run(self, words: list[str], log: Path) -> None:
        try:
            with log.open("wb") as out:
                process = subprocess.Popen(  # noqa: S603 - the user's own command, and no shell
                    words, cwd=self.root, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
                )
                try:
                    code = process.wait()
                except BaseException:
                    process.kill()
                    process.wait()
                    raise
        except OSError as error:
            raise TrainingError(
                f"[train] command cannot be run: {words[0]}: {error.strerror or error}",
                hint="Name a program that is on PATH, or its path.",
            ) from error
        if code:
            raise TrainingError(
                f"[train] command ended with exit code {code}: {shlex.join(words)}{_tail(log)}",
                hint=f"Its whole output is in {log}",
            )

    def _read(self, path: Path, log: Path) -> Trained:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise TrainingError(
                f"[train] command left no metrics that can be read in {path}: {reason}{_tail(log)}",
                hint="It must write JSON there: see {metrics_file}, or metrics_file in [train].",
            ) from error
        try:
            if "scores" in content:
                scores = {name: float(content["scores"][name]) for name in self.division.judging}
                accuracy, loss = None, None
            else:
                scores, accuracy, loss = {}, float(content["accuracy"]), float(content["loss"])
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(
                f"the metrics in {path} have no number for {error}",
                hint='It takes {"scores": {item id: score}} for every judging item, or {"accuracy": x, "loss": x}.',
            ) from error
        numbers = [*scores.values(), *([] if accuracy is None or loss is None else [accuracy, loss])]
        if not all(map(math.isfinite, numbers)) or (accuracy is not None and not 0 <= accuracy <= 1):
            raise TrainingError(
                f"the metrics in {path} hold a number that is not finite, or an accuracy that is not from 0 to 1",
                hint="Accuracy is a share, not per cent.",
            )
        return Trained(scores, accuracy, loss)


def _filled(word: str, values: dict[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], word)


def _tail(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
    except OSError:
        return ""
    return "".join(f"\n{line}" for line in lines) if lines else "\nIt printed nothing."
