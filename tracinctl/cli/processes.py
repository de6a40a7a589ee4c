"""Several processes for one command: started here by ``--processes``, or by ``torchrun`` on any number of machines.

Each process runs the same command line. The first one alone speaks, whether it has a result, progress or an error.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from tracinctl.cli.output.terminal import terminal
from tracinctl.errors import ProcessLostError, TracinctlError

if TYPE_CHECKING:
    from tracinctl.engine.distributed.processes import Processes

_HERE = "TORCHELASTIC_RUN_ID"
_HERE_NAME = "tracinctl-processes"
_KEPT = "Checkpoints that were finished are kept in the cache; the same command goes on from there."


def _shared() -> bool:
    size = os.environ.get("WORLD_SIZE", "")
    return size.isdecimal() and int(size) > 1 and "RANK" in os.environ


def hold_tongue() -> None:
    """Let all but the first of several processes be silent."""
    if _shared() and os.environ["RANK"] != "0":
        terminal.mute()


def start_processes(count: int) -> None:
    """Run this command line in ``count`` processes of this machine and end with their exit code.

    Does nothing for one process, or where this is one of several already.
    """
    if count <= 1 or _shared():
        return
    import socket

    import torch.distributed
    import torch.multiprocessing
    from torch.multiprocessing.spawn import ProcessExitedException

    distributed: Any = torch.distributed
    multiprocessing: Any = torch.multiprocessing
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    store = distributed.TCPStore(
        "127.0.0.1",
        port,
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
        use_libuv=False,  # which in torch 2.4 takes no socket that listens already
    )
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    if loopback is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    context: Any = multiprocessing.start_processes(
        _run_one, (count, port, terminal.arguments), count, join=False, start_method="spawn"
    )
    code = 0
    try:
        while not context.join():
            pass
    except ProcessExitedException as error:
        code = error.exit_code
        killed = [(k, p.exitcode) for k, p in enumerate(context.processes) if p.exitcode not in {None, -signal.SIGTERM}]
        dead = next(((k, -status) for k, status in killed if status < 0), None)
        if dead is not None:
            raise ProcessLostError(
                f"process {dead[0]} of {count} (counted from 0) was ended by {signal.Signals(dead[1]).name}",
                hint=f"{'Perhaps memory ran out: see --memory. ' if dead[1] == signal.SIGKILL else ''}{_KEPT}",
            ) from None
    except KeyboardInterrupt:
        for process in context.processes:
            if process.is_alive():
                os.kill(process.pid, signal.SIGINT)
        for process in context.processes:
            process.join(30)
            process.kill()
        terminal.mute()  # the first process has said so
        raise
    del store
    raise typer.Exit(code)


def _run_one(rank: int, count: int, port: int, arguments: list[str]) -> None:
    import runpy

    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(value) for name, value in own.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), _HERE: _HERE_NAME}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    sys.argv = ["tracinctl", *arguments]
    runpy.run_module("tracinctl", run_name="__main__")


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
        raise ProcessLostError("another process of this run ended, or the run was told to end", hint=_KEPT)

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, interrupt)
    try:
        with join_processes() as processes:
            yield processes
    except TracinctlError as error:
        # the others end at the same time, and what started them then tells this one to end: it has a word to say first
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if isinstance(error, ProcessLostError) and os.environ.get(_HERE) == _HERE_NAME:
            terminal.mute()  # what started this process knows more
        raise
