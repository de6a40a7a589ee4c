"""Serve a review on a free port of this machine until it is interrupted."""

from __future__ import annotations

import socket
from collections.abc import Callable

from tracinctl.errors import ReviewError
from tracinctl.review.suspects import Review

_EXTRA = ("starlette", "uvicorn")


def serve_review(review: Review, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; call ``ready`` with the address when it answers.

    Raises:
        ReviewError: the packages of the extra ``review`` are not installed, or no port is free.
    """
    try:
        import uvicorn

        from tracinctl.review.server import ReviewServer
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise ReviewError(
            f"a review needs the package {error.name}", hint="Run: pip install 'tracinctl[review]'"
        ) from error
    server = ReviewServer(review)
    with socket.socket() as listening:
        try:
            listening.bind(("127.0.0.1", 0))
        except OSError as error:
            raise ReviewError(
                f"no port of this machine can be used: {error.strerror}",
                hint="End a program that takes up ports, then run again.",
            ) from error
        listening.listen()
        ready(f"http://127.0.0.1:{listening.getsockname()[1]}/?token={server.token}")
        config = uvicorn.Config(server.app, log_level="critical", access_log=False, lifespan="off")
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            server.close()
