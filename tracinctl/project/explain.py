"""Explain why a training pair is suspect, from scores, checkpoints and other comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracinctl.errors import UsageError
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.project.review import gather_evidence
from tracinctl.project.selection import ScoreFile
from tracinctl.project.settings import ComputeSettings
from tracinctl.project.target import Target
from tracinctl.review.suspects import Card
from tracinctl.scores.effects import opposed_pairs
from tracinctl.scores.files.open import open_scores
from tracinctl.text import as_written, did_you_mean


@dataclass(frozen=True)
class Explanation:
    """The evidence on one training pair.

    Attributes:
        card: its claim, the reasons to suspect it, its loss at each checkpoint, the pairs that it hurts, and its
            items' other comparisons.
        total: its total influence on the held-out pairs.
        votes, active: numbers of held-out pairs that it hurts, and that can vote.
        helps: the held-out pairs that it helps most, with the influence on each.
        opposed: the training pairs that contradict it most, with the cosine of the scores.
        missing: unknown evidence, and how to get it.
        changes: descriptions of changes after the scores were made.
    """

    id: str
    card: Card
    total: float
    votes: int
    active: int
    helps: Sequence[tuple[str, float]]
    opposed: Sequence[tuple[str, float]]
    missing: Sequence[str]
    changes: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """The explanation for JSON."""

        def named(rows: Any, *names: str) -> list[dict[str, Any]]:
            return [dict(zip(names, row, strict=True)) for row in rows]

        return {
            "pair": self.id,
            "claim": self.card.claim,
            "total": self.total,
            "votes": self.votes,
            "active_test_pairs": self.active,
            "reasons": dict(self.card.reasons),
            "losses": named(self.card.losses, "checkpoint", "loss"),
            "hurts": named(self.card.hurts, "test_pair", "score"),
            "helps": named(self.helps, "test_pair", "score"),
            "opposed": named(self.opposed, "pair", "cosine"),
            "comparisons": {item: named(others, "pair", "says") for item, others in self.card.comparisons.items()},
            "missing": list(self.missing),
        }


def files_with(name: str, files: Sequence[ScoreFile]) -> list[ScoreFile]:
    """The score files that have a pair; a single file is returned as it is.

    Raises:
        UsageError: no file has it.
        ScoreFileError: a file cannot be read.
    """
    if len(files) == 1:
        return [*files]
    sources = [open_scores(file.path) for file in files]
    known = [{*source.train_ids, *source.test_ids} for source in sources]
    with_pair = [file for file, ids in zip(files, known, strict=True) if as_written(name, ids) in ids]
    if not with_pair:
        labels = ", ".join(file.label for file in files)
        ids = [train_id for source in sources for train_id in source.train_ids]
        hint = did_you_mean(name, ids, f"An example is {ids[0]}." if ids else "")
        raise UsageError(f"there is no training pair {name!r} in the scores of {labels}", hint=hint)
    return with_pair


def explain_pair(
    target: Target, compute: ComputeSettings, name: str, progress: ProgressCallback = no_progress
) -> Explanation:
    """Gather the evidence on a training pair; ``compute``: how the scores were computed.

    Raises:
        UsageError: the scores have no such pair.
        TracinctlError: scores or items are missing.
    """
    evidence = gather_evidence(target, compute, progress)
    source, effects = evidence.source, evidence.effects
    ids = list(source.train_ids)
    name = as_written(name, ids)
    if name not in ids:
        if name in source.test_ids:
            hint = f"For its opponents: tracinctl plot top --test-pair {name}"
            raise UsageError(f"{name!r} is a held-out pair", hint=hint)
        hint = did_you_mean(name, ids, f"An example is {ids[0]}." if ids else "")
        raise UsageError(f"there is no training pair {name!r} in these scores", hint=hint)
    row, card = ids.index(name), evidence.card(name)
    helped = zip(effects.helped[row], effects.helped_by[row], strict=True)
    return Explanation(
        name,
        card,
        float(effects.total[row]),
        int(effects.votes[row]),
        effects.active,
        [(source.test_ids[column], float(score)) for column, score in helped if score > 0],
        opposed_pairs(source, row),
        _missing(card, target),
        evidence.changes,
    )


def _missing(card: Card, target: Target) -> list[str]:
    reasons = []
    if not card.losses:
        reasons.append(
            f"Its loss at each checkpoint is unknown: this needs the checkpoints in {target.checkpoints} and the loss "
            "standard, logistic or ghm."
        )
    if not any("trained without" in reason for reason, _ in card.reasons):
        reasons.append(
            "How rankers trained without it rank it is unknown: run tracinctl workflow --retrain with the built-in "
            "ranker."
        )
    return reasons
