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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from tracinctl.cli.output.terminal import terminal
from tracinctl.errors import ProcessLostError, TracinctlError

if TYPE_CHECKING:
    from tracinctl.engine.distributed.processes import Processes

_MEETING_FILE = "_TRACINCTL_MEETING_FILE"  # set for the processes that this module starts
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
    """Run this command line in ``count`` processes on this machine with torch's launcher; end with their exit code.

    Does nothing if ``count`` is 1 or this process is one of several already.
    """
    if count <= 1 or _shared():
        return
    import tempfile

    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    with tempfile.TemporaryDirectory(prefix="tracinctl-") as folder:
        try:
            _launch(count, Path(folder))
        except ChildFailedError as failed:
            raise typer.Exit(_exit_code(count, failed.failures)) from None
        except (SignalException, KeyboardInterrupt) as ended:
            number = getattr(ended, "sigval", signal.SIGINT)
            if number == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise typer.Exit(128 + number) from None
    raise typer.Exit(0)


def _launch(count: int, folder: Path) -> None:
    import logging
    import socket

    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL + 1)  # it reports each end in its own way
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    if loopback is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    # processes meet through a file, because a TCP store would listen on the whole network
    os.environ |= {_MEETING_FILE: str(folder / "processes"), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint=str(folder / "launcher"),
        rdzv_configs={"store_type": "file"},
        run_id="tracinctl",
        max_restarts=0,
        monitor_interval=0.1,
        local_addr="127.0.0.1",
    )
    elastic_launch(config, sys.executable)("-m", "tracinctl", *terminal.arguments)


def _exit_code(count: int, failures: dict[int, Any]) -> int:
    """The exit code of processes that failed; ProcessLostError if one was killed, because it could not report it."""
    for rank, failure in failures.items():
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:  # the launcher ends the others by SIGTERM
            memory = "Memory may have run out; limit it with --memory. " if failure.exitcode == -signal.SIGKILL else ""
            raise ProcessLostError(
                f"process {rank} of {count} (counted from 0) was ended by {signal.Signals(-failure.exitcode).name}",
                hint=memory + _HINT,
            )
    return next((failure.exitcode for failure in failures.values() if failure.exitcode > 0), 1)


@contextmanager
def joined_processes() -> Iterator[Processes | None]:
    """Join the processes that share this run, None if there is only this one; an error in one of them ends all."""
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
