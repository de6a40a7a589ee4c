"""A week of commands as a person gives them, and after each one whether ``status`` says what the files say.

The truth is found without the program: files are counted and hashed, pairs are read with ``csv``, lists line by line.
The files behind scores and lists are recorded when the bytes of these change.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MATERIAL, FREQUENCY = "plastic", "500hz"
NAME = f"{MATERIAL}_{FREQUENCY}"
ONE = ["--material", MATERIAL, "--frequency", FREQUENCY]
LIST = f"exclusions/{NAME}_excluded_pairs.txt"
FOLDERS = {1: "", 2: "retrained", 3: "retrained-3"}


@dataclass
class Step:
    """One step of a person: a command, or something done by hand; ``code`` is the expected exit code."""

    day: str
    command: list[str] = field(default_factory=list)
    by_hand: Callable[[Path], None] | None = None
    note: str = ""
    code: int = 0
    interrupt: str = ""
    """A glob below the project: the command is interrupted once it matches a new file."""


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Files:
    """The truth about a project, from its present files and those at the time of its scores and lists."""

    def __init__(self, root):
        self.root = root
        self.scored = {}
        self.listed = {}
        self.look()

    def paths(self, number):
        folder = FOLDERS[number]
        checkpoints = self.root / "checkpoints" / folder / NAME
        return {
            "checkpoints": sorted(checkpoints.glob("model_epoch_*.pt"), key=lambda path: int(path.stem.split("_")[-1])),
            "pairs": checkpoints / "pairs.csv",
            "left out": checkpoints / "excluded_pairs.txt",
            "scores": self.root / "metadata" / folder / f"{NAME}_influence_metadata.json",
            "list": self.root / "exclusions" / folder / f"{NAME}_excluded_pairs.txt",
        }

    def scores(self, number):
        """A digest of the scores and of their provenance."""
        path = self.paths(number)["scores"]
        beside = path.with_name(f"{NAME}_influence_provenance.json")
        return digest(path) + digest(beside) if path.is_file() else ""

    def recordings(self):
        return sorted(self.root.glob(f"data/*/{MATERIAL}/{MATERIAL}_*_{FREQUENCY}_*.wav"))

    def inputs(self, number):
        """The files behind the scores."""
        checkpoints = {path.name: digest(path) for path in self.paths(number)["checkpoints"]}
        return {**checkpoints, **{path.name: digest(path) for path in self.recordings()}, "pairs": self.rows(number)}

    def inputs_changed(self, number):
        """Whether they have changed; new recordings do not count, because the pairs file names the pairs."""
        before, now = self.scored[number][1], self.inputs(number)
        return before != {name: value for name, value in now.items() if name in before or name.endswith(".pt")}

    def rows(self, number):
        path = self.paths(number)["pairs"]
        return list(csv.DictReader(path.read_text().splitlines())) if path.is_file() else []

    def ids(self, path):
        lines = [line.split(" #")[0].strip() for line in path.read_text().splitlines() if not line.startswith("#")]
        return list(dict.fromkeys(filter(None, lines)))

    def look(self):
        """Record the files behind new scores and lists."""
        for number in FOLDERS:
            paths = self.paths(number)
            for kind, notes in (("scores", self.scored), ("list", self.listed)):
                path = paths[kind]
                now = (digest(path), path.stat().st_mtime_ns) if path.is_file() else None
                if notes.get(number, (None,))[0] != now:
                    made_from = self.inputs(number) if kind == "scores" else None
                    if kind == "list" and now is not None:
                        made_from = (self.scores(number), self.ids(path))
                    notes[number] = (now, made_from)

    def edited(self, number, change):
        """A person changes a list, which keeps its recorded scores."""
        path = self.paths(number)["list"]
        change(path)
        self.listed[number] = ((digest(path), path.stat().st_mtime_ns), self.listed[number][1])

    def truth(self, number):
        """The true status of a round."""
        paths = self.paths(number)
        stale = set()
        scores, listed, left_out = paths["scores"], paths["list"], paths["left out"]
        if scores.is_file() and paths["checkpoints"] and self.inputs_changed(number):
            stale.add("scores")
        if listed.is_file() and scores.is_file() and self.listed[number][1][0] != self.scores(number):
            stale.add("list")
        before = self.paths(number - 1)["list"] if number > 1 else None
        if before is not None and before.is_file() and left_out.is_file():
            stale |= {"checkpoints"} if set(self.ids(before)) != set(self.ids(left_out)) else set()
        pairs = {}
        for row in self.rows(number):
            pairs[row["split"]] = pairs.get(row["split"], 0) + 1
        return {
            "round": number,
            "pairs": pairs,
            "checkpoints": len(paths["checkpoints"]) or None,
            "held_out_accuracy": self.accuracy(paths["checkpoints"]),
            "margin": self.margin(scores),
            "ids": len(self.ids(listed)) if listed.is_file() else None,
            "edited": listed.is_file() and set(self.ids(listed)) != set(self.listed[number][1][1]),
            "stale": stale,
        }

    @staticmethod
    def accuracy(checkpoints):
        import torch

        return round(torch.load(checkpoints[-1], weights_only=True)["val_accuracy"] / 100, 9) if checkpoints else None

    @staticmethod
    def margin(scores):
        beside = scores.with_name(f"{NAME}_influence_provenance.json")
        return json.loads(beside.read_text())["provenance"]["margin"] if scores.is_file() else None


def said(status):
    """The printed status of a round."""
    printed = {}
    for round_status in status["rounds"]:
        checkpoints, scores, listed = round_status["checkpoints"], round_status["scores"], round_status["list"]
        accuracy = None if checkpoints is None else checkpoints["held_out_accuracy"]
        printed[round_status["round"]] = {
            "round": round_status["round"],
            "pairs": round_status["pairs"],
            "checkpoints": None if checkpoints is None else checkpoints["number"],
            "held_out_accuracy": None if accuracy is None else round(accuracy, 9),
            "margin": None if scores is None else scores["margin"],
            "ids": None if listed is None else listed["ids"],
            "edited": listed is not None and listed["edited"],
            "stale": {reason.partition(":")[0] for reason in round_status["out_of_date"]},
        }
    return printed


def differences(files, status):
    """One line for each false statement of status."""
    files.look()
    lines = []
    if status["recordings"] != len(files.recordings()):
        lines.append(f"recordings: said {status['recordings']}, true {len(files.recordings())}")
    rounds = said(status)
    for number in FOLDERS:
        true = files.truth(number)
        there = number == 1 or any(true[key] is not None for key in ("checkpoints", "margin", "ids"))
        if not there and number not in rounds:
            continue
        for key, value in true.items():
            answer = rounds.get(number, {}).get(key)
            if answer != value:
                lines.append(f"round {number}, {key}: said {answer}, true {value}")
    return lines


def without_an_id(path):
    """Remove the last id from a list, like a person in an editor."""
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines[:-1] if not line.startswith("# excluded")) + "\n")


def more_recordings(root):
    """Add another take of each angle: copies under the next number."""
    for path in sorted(root.glob(f"data/*/{MATERIAL}/{MATERIAL}_*_{FREQUENCY}_01.wav")):
        shutil.copy(path, path.with_name(path.name.replace("_01.wav", "_77.wav")))


def another_material(root):
    """Add the same recordings behind a box."""
    for path in sorted(root.glob(f"data/*/{MATERIAL}/*_{FREQUENCY}_*.wav")):
        to = path.parent.parent / "box" / path.name.replace(MATERIAL, "box")
        to.parent.mkdir(exist_ok=True)
        shutil.copy(path, to)


def rewrite_a_recording(root):
    """Cut a training recording shorter, as in a sound editor."""
    import soundfile

    row = next(iter(csv.DictReader((root / "checkpoints" / NAME / "pairs.csv").read_text().splitlines())))
    [path] = root.glob(f"data/*/{MATERIAL}/{row['id1']}.wav")
    sound, rate = soundfile.read(path)
    soundfile.write(path, sound * 0.5, rate)


RULE = ["--min-occurrences", "1", "--max-exclusions", "6"]
WEEK = [
    Step("Mon", ["status"], note="nothing is scored yet"),
    Step("Mon", ["train", *ONE]),
    Step("Mon", ["compute", *ONE]),
    Step("Mon", ["sweep", *ONE, "--thresholds", "0,-5"]),
    Step("Mon", ["exclude", *ONE, "--dry-run"]),
    Step("Mon", ["exclude", *ONE, *RULE]),
    Step("Mon", ["plot", "top", *ONE]),
    Step("Mon", ["plot", "distribution", *ONE]),
    Step("Mon", ["plot", "groups", *ONE, "--by", "class"]),
    Step("Mon", ["sweep", *ONE, "--by", "item"]),
    Step("Mon", ["explain", f"plastic_deg036_{FREQUENCY}_02_plastic_deg072_{FREQUENCY}_00", *ONE]),
    Step("Tue", ["compute", *ONE, "--margin", "3"], note="another margin: the list is of older scores"),
    Step("Tue", ["exclude", *ONE, *RULE]),
    Step("Tue", by_hand=without_an_id, note="a person takes an id off the list"),
    Step("Tue", ["exclude", *ONE, *RULE], code=2, note="which stays"),
    Step("Tue", ["workflow", *ONE, *RULE], code=2),
    Step("Tue", ["train", *ONE, "--exclusions-file", LIST], note="the second round"),
    Step("Tue", ["workflow", *ONE, *RULE, "--checkpoint-dir", "checkpoints/retrained"]),
    Step("Wed", ["exclude", *ONE, *RULE, "--force"], note="the edited list is given up: round 2 is out of date"),
    Step("Wed", ["train", *ONE, "--exclusions-file", LIST], code=1, note="its checkpoints are in use"),
    Step("Wed", ["train", *ONE, "--exclusions-file", LIST, "--force"]),
    Step("Wed", ["workflow", *ONE, *RULE, "--checkpoint-dir", "checkpoints/retrained"]),
    Step("Wed", ["sweep", *ONE, "--metadata-dir", "metadata/retrained", "--top", "3"]),
    Step("Wed", ["plot", "top", *ONE, "--metadata-dir", "metadata/retrained"]),
    Step("Wed", ["train", "--exclusions-file", f"exclusions/retrained/{NAME}_excluded_pairs.txt"], note="the third"),
    Step("Wed", ["workflow", *ONE, *RULE, "--checkpoint-dir", "checkpoints/retrained-3"]),
    Step("Thu", by_hand=more_recordings, note="new recordings: the pairs files know nothing of them"),
    Step("Thu", ["workflow", *ONE, *RULE]),
    Step("Thu", by_hand=rewrite_a_recording, note="a recording is changed: all rounds are out of date"),
    Step("Thu", ["sweep", *ONE]),
    Step("Thu", ["workflow", *ONE, *RULE]),
    Step("Thu", ["train", *ONE, "--epochs", "3"], code=1, note="other checkpoints would replace those in use"),
    Step(
        "Thu",
        ["train", *ONE, "--epochs", "400", "--force"],
        code=130,
        interrupt=f"checkpoints/{NAME}/.tracinctl-*/model_epoch_*.pt",
        note="Ctrl-C while training: the old checkpoints are still there",
    ),
    Step("Thu", ["train", *ONE, "--epochs", "3", "--force"], note="done after all"),
    Step("Fri", ["workflow", *ONE, *RULE]),
    Step("Fri", by_hand=another_material, note="another material"),
    Step("Fri", ["train", "--material", "box", "--frequency", FREQUENCY]),
    Step("Fri", ["workflow", "--material", "box", "--frequency", FREQUENCY, *RULE]),
    Step("Fri", ["compute", *ONE, "--margin", "-1"], code=2, note="a value that makes no sense"),
    Step("Fri", ["compute", *ONE, "--loss-type", "logistic"]),
    Step("Fri", ["exclude", *ONE, "--rule", "total"]),
    Step("Fri", ["workflow", *ONE, *RULE, "--rounds", "2", "--force"], note="two rounds at once"),
    Step("Fri", ["workflow", *ONE, *RULE, "--report", "report.html"]),
    Step("Fri", ["status"]),
]
"""The week. Steps of days that only look are as many as a person would take."""
