"""Progress on a real terminal in tmux, and the screen after it."""

import os
import shutil
import subprocess
import sys
import time

import pytest
from places import ROOT

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

WORK = """
import sys, time
from tracinctl.cli.output.terminal import terminal
from tracinctl.progress import Progress
with terminal.progress(title="plastic 500hz") as tell:
    for checkpoint in range(3):
        for item in range(0, 40, 4):
            tell(Progress("gradients", checkpoint, 3, "checkpoints", "model_epoch_5.pt", item, 40, "items"))
            time.sleep(float(sys.argv[1]))
print("the result")
"""


class Screen:
    """A shell in a new terminal."""

    def __init__(self, folder, columns):
        self.name = f"tracinctl-test-{os.getpid()}-{columns}"
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PS1": "$ ",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
        }
        environment.pop("TMUX", None)
        command = ["new-session", "-d", "-x", str(columns), "-y", "20", "-c", str(folder), "bash", "--norc"]
        subprocess.run(["tmux", "-L", self.name, *command], env=environment, check=True)
        self.wait_for("$")

    def tmux(self, *arguments):
        command = ["tmux", "-L", self.name, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def text(self):
        return self.tmux("capture-pane", "-p").rstrip()

    def send(self, *keys):
        self.tmux("send-keys", *keys)

    def wait_for(self, text):
        end = time.monotonic() + 30
        while text not in self.text():
            assert time.monotonic() < end, self.text()
            time.sleep(0.05)

    def close(self):
        self.tmux("kill-server")


@pytest.fixture(params=[80, 140])
def screen(request, tmp_path):
    (tmp_path / "work.py").write_text(WORK)
    answer = Screen(tmp_path, request.param)
    yield answer
    answer.close()


def test_progress_is_shown_and_removed(screen):
    screen.send(f"{sys.executable} work.py 0.05", "Enter")
    screen.wait_for("plastic 500hz gradients")
    screen.wait_for("items/s")
    screen.wait_for("the result")
    assert "checkpoints" not in screen.text()
    assert "items" not in screen.text()


def test_ctrl_c_removes_the_display(screen):
    screen.send(f"{sys.executable} work.py 5", "Enter")
    screen.wait_for("items/s")
    screen.send("C-c")
    screen.wait_for("KeyboardInterrupt")
    assert "checkpoints " not in screen.text().replace('"checkpoints", ', "")
    assert "━" not in screen.text()
