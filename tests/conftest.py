"""What all tests share."""

from __future__ import annotations

import os
import shutil

# small tensors are quicker on one thread, and the tests run side by side
os.environ.setdefault("OMP_NUM_THREADS", "1")
# a warning is also an error in processes that tests start, except for one that Python 3.15 itself causes
os.environ.setdefault("PYTHONWARNINGS", "error,ignore:Module globals is missing:DeprecationWarning")

import pytest
from hypothesis import settings

# machines differ in speed, and a run that fails must fail again
settings.register_profile("tracinctl", deadline=None, derandomize=True)
settings.load_profile("tracinctl")


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """No setting of the person who runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith("TRACINCTL_") or name in {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}:
            monkeypatch.delenv(name)


@pytest.fixture
def cli(capsys):
    """Runs commands in this process and keeps their output."""
    from command_line import CommandLine

    return CommandLine(capsys)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Runs commands in processes that can be killed, on a disk that can fail."""
    from crash_projects import CrashServer

    server = CrashServer(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def start(run, tmp_path_factory):
    """A trained project, not to be changed: to be copied."""
    from crash_projects import made

    return made(run, tmp_path_factory.mktemp("start") / "project")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A small project of two frequencies, trained once, not to be changed: to be copied."""
    from trained_project import make_trained

    return make_trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def project(trained, tmp_path, monkeypatch):
    """A copy of the trained project, to work in."""
    folder = tmp_path / "a project"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    return folder
