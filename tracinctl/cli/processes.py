"""Several processes for one command: started here by ``--processes``, or by ``torchrun`` on any number of machines.

Each process runs the same command line. Only the first one writes results, progress and errors. Only the launcher knows
when a process was killed, so it reports that.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from tracinctl.cli.output.terminal import terminal
from tracinctl.errors import ProcessLostError, TracinctlError

if TYPE_CHECKING:
    import subprocess

    from tracinctl.engine.distributed.processes import Processes

_MEETING_FILE = "_TRACINCTL_MEETING_FILE"  # set for the processes that this module starts
_PAUSE = 0.05  # seconds between looks at the processes
_GRACE = 30.0  # seconds in which a process may end by itself
_HINT = "Finished checkpoints are kept in the cache; run the same command to continue."


def _shared() -> bool:
    size = os.environ.get("WORLD_SIZE", "")
    return size.isdecimal() and int(size) > 1 and "RANK" in os.environ


def mute_other_processes() -> None:
    """Mute all processes but the first."""
    if _shared() and os.environ["RANK"] != "0":
        terminal.mute()


def leave(code: int) -> NoReturn:
    """End this process with this exit code.

    A process that shared a run ends at once: a thread of torch.distributed may still release a tensor, which aborts a
    process whose interpreter is shutting down.
    """
    if not _shared():
        sys.exit(code)
    # remove the temporary folders first
    gc.collect()
    end_at_once(code)


def end_at_once(code: int) -> NoReturn:
    """End this process without shutting the interpreter down, which takes a tenth of a short command's time."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def start_processes(count: int) -> None:
    """Run this command line in ``count`` processes on this machine; end with their exit code.

    Does nothing if ``count`` is 1 or this process is one of several already.
    """
    if count <= 1 or _shared():
        return
    import subprocess
    import tempfile

    # a shell makes commands in the background ignore an interruption, but the processes must not outlive this one
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", "tracinctl", *terminal.arguments]
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="tracinctl-") as folder:
        common = _environment(count, Path(folder))
        try:
            for rank in range(count):
                own = common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                # in sessions of their own, so that Ctrl-C in a terminal reaches only this process, which ends them
                processes.append(subprocess.Popen(command, env=own, start_new_session=True))  # noqa: S603 - this program
            while None in (codes := [process.poll() for process in processes]) and not any(codes):
                time.sleep(_PAUSE)
        finally:
            _end(processes)
    raise typer.Exit(_exit_code(codes))


def _environment(count: int, folder: Path) -> dict[str, str]:
    """The environment that torch.distributed expects."""
    import socket

    environment = os.environ | {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    # processes meet through a file, because a TCP store would listen on the whole network
    environment[_MEETING_FILE] = str(folder / "processes")
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    if loopback is not None:
        environment.setdefault("GLOO_SOCKET_IFNAME", loopback)
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    return environment


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End those of these processes that still run."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    latest = time.monotonic() + _GRACE
    for process in running:
        while process.poll() is None and time.monotonic() < latest:
            time.sleep(_PAUSE)
        process.kill()  # does nothing to a process that has ended


def _exit_code(codes: Sequence[int | None]) -> int:
    """The exit code of processes that have ended or failed.

    Raises:
        ProcessLostError: one of them was killed and could not report it.
    """
    for rank, code in enumerate(codes):
        if code is not None and code < 0:
            memory = "Memory may have run out; limit it with --memory. " if code == -signal.SIGKILL else ""
            raise ProcessLostError(
                f"process {rank} of {len(codes)} (counted from 0) was ended by {signal.Signals(-code).name}",
                hint=memory + _HINT,
            )
    return next((code for code in codes if code), 0)


@contextmanager
def joined_processes() -> Iterator[Processes | None]:
    """Join the processes that share this run; None if there is only this one.

    Raises:
        TracinctlError: the error that ended the run, here or in another process.
    """
    if not _shared():
        yield None
        return
    from tracinctl.engine.distributed.processes import join_processes

    def stop(*_: object) -> None:
        raise ProcessLostError("another process of this run ended, or the run was ended", hint=_HINT)

    meeting_file = os.environ.get(_MEETING_FILE)
    signal.signal(signal.SIGTERM, stop)
    try:
        with join_processes(f"file://{meeting_file}" if meeting_file else "env://") as processes:
            yield processes
    except TracinctlError as error:
        # the launcher ends this process when another has ended; let it report that first
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if isinstance(error, ProcessLostError) and meeting_file:
            terminal.mute()  # the launcher knows more
        raise
    except KeyboardInterrupt:
        if meeting_file:
            terminal.mute()
        raise
