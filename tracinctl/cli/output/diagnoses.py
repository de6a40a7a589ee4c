"""What commands print about the scores they read: their label, changes since, and diagnoses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tracinctl.cli.output.terminal import terminal

if TYPE_CHECKING:
    from tracinctl.project.selection import ScoreFile
    from tracinctl.project.target import Target
    from tracinctl.scores.diagnoses import Diagnosis
    from tracinctl.scores.exclusion import Exclusions
    from tracinctl.scores.source import ScoreSource
    from tracinctl.scores.sweep import SweepResult


def label_of(label: str, source: ScoreSource) -> str:
    """A label such as ``plastic 500hz``, with the method of the scores unless it is ``tracin``."""
    method = source.provenance.get("method", "tracin")
    return label if method == "tracin" else f"{label} by {method}"


class Diagnoses:
    """Diagnoses of the scores and lists of all files, each kind printed once."""

    def __init__(self) -> None:
        self._by_code: dict[str, list[tuple[str, Diagnosis]]] = {}

    def add(self, label: str, source: ScoreSource, result: SweepResult | Exclusions) -> None:
        """Diagnose the scores of one file, and what was made from them."""
        from tracinctl.scores.diagnoses import diagnose

        self.put(label, diagnose(source, result))

    def put(self, label: str, diagnoses: Iterable[Diagnosis]) -> None:
        """Add the diagnoses of one file."""
        for diagnosis in diagnoses:
            self._by_code.setdefault(diagnosis.code, []).append((label, diagnosis))

    def texts(self, label: str) -> list[str]:
        """The diagnoses of one file, one sentence each."""
        return [diagnosis.text for labelled in self._by_code.values() for name, diagnosis in labelled if name == label]

    def show(self) -> None:
        """Print all diagnoses on stderr: one warning per kind, with its files, meaning and remedy."""
        for labelled in () if terminal.quiet else self._by_code.values():
            if len(labelled) == 1:
                ((label, only),) = labelled
                terminal.warn(f"{label}: {only.text}", only.hint)
                continue
            lines = [f"{label}: {diagnosis.finding}" for label, diagnosis in labelled]
            meaning = labelled[0][1].meaning
            lines += [f"{meaning[0].upper()}{meaning[1:]}."] if meaning else []
            hints = dict.fromkeys(diagnosis.hint for _, diagnosis in labelled if diagnosis.hint)
            terminal.warn("\n".join(lines), "\n".join(hints))


def warn_if_changed(file: ScoreFile, source: ScoreSource) -> list[str]:
    """Warn of files that changed after the scores were made from them; return the warnings for JSON.

    Files outside the project, or not named in the scores' provenance, are not checked.
    """
    from tracinctl.project.staleness import changes

    if file.target is None or not file.in_project:
        return []
    return warn_of_changes(file.target, changes(file.target, source.provenance))


def warn_of_changes(target: Target, changes: Sequence[str]) -> list[str]:
    """Warn of known changes after a target's scores were made."""
    if not changes:
        return []
    warning = f"since these scores were made, {'; '.join(changes)}"
    terminal.warn(f"{target.label}: {warning}", f"Compute them again: tracinctl compute {target.command_flags}")
    return [warning]
