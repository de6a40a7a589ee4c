"""Several processes for one command: started here by ``--processes``, or by ``torchrun`` on any number of machines.

Each process runs the same command line. The first one alone speaks, whether it has a result, progress or an error; what
only the starter can know, that a process was killed, the starter says.
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

_MEETING_FILE = "_TRACINCTL_MEETING_FILE"  # set for the processes that are started here
_HINT = "Checkpoints that were finished are kept in the cache; the same command goes on from there."


def _shared() -> bool:
    size = os.environ.get("WORLD_SIZE", "")
    return size.isdecimal() and int(size) > 1 and "RANK" in os.environ


def mute_other_processes() -> None:
    """Let only the first of several processes write."""
    if _shared() and os.environ["RANK"] != "0":
        terminal.mute()


def leave(code: int) -> NoReturn:
    """End this process with this exit code.

    One that shared a run ends at once: a thread of torch.distributed may still let go of a tensor, and that aborts a
    process whose interpreter is being taken down.
    """
    if not _shared():
        sys.exit(code)
    # temporary folders go with those who use them
    gc.collect()
    end_at_once(code)


def end_at_once(code: int) -> NoReturn:
    """End this process without taking the interpreter down, which costs a tenth of a short answer's time."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def start_processes(count: int) -> None:
    """Run this command line in ``count`` processes of this machine, by torch's launcher, and end with their exit code.

    Does nothing for one process, or where this is one of several already.
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

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL + 1)  # it tells of each end in its own way
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    if loopback is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    # processes meet in files: a store of TCP would listen to the whole network
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
    """The exit code of processes that failed.

    Raises:
        ProcessLostError: one of them was killed, which none of them can say.
    """
    for rank, failure in failures.items():
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:  # by which the launcher ends the others
            memory = "Perhaps memory ran out: see --memory. " if failure.exitcode == -signal.SIGKILL else ""
            raise ProcessLostError(
                f"process {rank} of {count} (counted from 0) was ended by {signal.Signals(-failure.exitcode).name}",
                hint=memory + _HINT,
            )
    return next((failure.exitcode for failure in failures.values() if failure.exitcode > 0), 1)


@contextmanager
def joined_processes() -> Iterator[Processes | None]:
    """Meet the processes that share this run; None where this one is alone.

    Raises:
        TracinctlError: what ended the run, here or in another process.
    """
    if not _shared():
        yield None
        return
    from tracinctl.engine.distributed.processes import join_processes

    def stop(*_: object) -> None:
        raise ProcessLostError("another process of this run ended, or the run was told to end", hint=_HINT)

    meeting_file = os.environ.get(_MEETING_FILE)
    signal.signal(signal.SIGTERM, stop)
    try:
        with join_processes(f"file://{meeting_file}" if meeting_file else "env://") as processes:
            yield processes
    except TracinctlError as error:
        # what started the processes ends this one when another has ended: it has a word to say first
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if isinstance(error, ProcessLostError) and meeting_file:
            terminal.mute()  # what started this process knows more
        raise
    except KeyboardInterrupt:
        if meeting_file:
            terminal.mute()
        raise
