"""The week of ``tests/helpers/week.py`` in separate processes, printed line by line.

    python tests/robustness/week.py FOLDER

The exit code is 1 if status is false once, or if a command has an unexpected exit code.
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from trained_project import make_trained
from week import ONE, WEEK, Files, differences


def run(root, arguments, interrupt=""):
    """Run a command in a separate process: its exit code and output."""
    command = [sys.executable, "-m", "tracinctl", *arguments]
    before = set(root.glob(interrupt)) if interrupt else set()
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while interrupt and process.poll() is None:
            if set(root.glob(interrupt)) - before:
                process.send_signal(signal.SIGINT)
                break
            time.sleep(0.01)
        out, _ = process.communicate()
    return process.returncode, out


def main():
    """Run the week; return the number of faults."""
    root = make_trained(Path(sys.argv[1]))
    files, wrong, number = Files(root), 0, 0
    for step in WEEK:
        if step.by_hand is not None:
            print(f"\n{step.day}  # {step.note}")
            if step.by_hand.__name__ == "without_an_id":
                files.edited(1, step.by_hand)
            else:
                step.by_hand(root)
        else:
            number += 1
            print(f"\n{step.day} {number:2} $ tracinctl {shlex.join(step.command)}  # {step.note}".rstrip(" #"))
            code, out = run(root, step.command, step.interrupt)
            print("\n".join(f"      | {line}" for line in out.rstrip().splitlines()[-14:]))
            if code != step.code:
                wrong += 1
                print(f"      WRONG: exit code {code}, not {step.code}")
        lines = differences(files, json.loads(run(root, ["status", *ONE, "--json"])[1])[0])
        wrong += len(lines)
        print("\n".join(f"      WRONG: {line}" for line in lines) or "      status is true")
    print(f"\n{number} commands, {wrong} wrong")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main()))
