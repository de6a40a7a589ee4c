"""Serve the page of a review to this machine only.

The address of the first visit has a token that starts a session and works once. Every other request needs the
session's cookie, which other sites cannot send, and a decision also needs this page's origin. Requests name files by
item, never by path.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import inspect
import secrets
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from tracinctl.errors import TracinctlError
from tracinctl.review.cards import Cards, page_file
from tracinctl.review.decisions import RELABEL, Decision, by_id, check_decision, read_decisions, record, settle
from tracinctl.review.expectation import expect_errors
from tracinctl.review.spectrogram import levels_of, png
from tracinctl.review.suspects import ItemView, Review

# formats that browsers play, and their media types
_PLAYABLE = {".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".mp3": "audio/mpeg"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_UNDECIDED = Decision("", "")

Handler = Callable[[Request], Any]
"""Returns a response, or a coroutine of one."""


def _address(view: ItemView, page: str) -> str:
    return f"/{page}?{urlencode({'item': view.id})}"


class ReviewServer:
    """The pages and answers of a review.

    Attributes:
        token: token of the first visit, ``/?token=...``.
        cookie: name of the session's cookie.
        app: the application, for any ASGI server.
    """

    def __init__(self, review: Review) -> None:
        self.review = review
        self.token = secrets.token_urlsafe(24)
        # all ports of a machine share cookies, so each review has its own name
        self.cookie = f"tracinctl-review-{secrets.token_hex(4)}"
        self._session = secrets.token_urlsafe(24)
        self._visited = False
        self._suspects_by_id = {suspect.id: suspect for suspect in review.suspects}
        self._items = {item for suspect in review.suspects for item in suspect.items}
        self._cards = Cards(review, _address)
        self.app = Starlette(
            routes=[
                Route("/", self._first_page),
                Route("/page.js", self._inside(self._file("page.js", "text/javascript"))),
                Route("/page.css", self._inside(self._file("page.css", "text/css"))),
                Route("/card.css", self._inside(self._file("card.css", "text/css"))),
                Route("/suspects", self._inside(self._suspects)),
                Route("/card", self._inside(self._card)),
                Route("/spectrogram", self._inside(self._spectrogram)),
                Route("/sound", self._inside(self._sound)),
                Route("/picture", self._inside(self._picture)),
                Route("/decide", self._inside(self._decide), methods=["POST"]),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
        )

    @functools.cached_property
    def _copies(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="tracinctl-review-", ignore_cleanup_errors=True)

    def close(self) -> None:
        """Remove the converted copies of sounds."""
        self._copies.cleanup()

    async def _first_page(self, request: Request) -> Response:
        token = request.query_params.get("token", "")
        if not self._visited and hmac.compare_digest(token.encode(), self.token.encode()):
            self._visited = True
            answer = RedirectResponse("/", status_code=303)
            answer.set_cookie(self.cookie, self._session, httponly=True, samesite="strict")
            return answer
        return await self._inside(self._file("page.html", "text/html"))(request)

    def _inside(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Limit a handler to requests of this session."""

        async def checked(request: Request) -> Response:
            if not hmac.compare_digest(request.cookies.get(self.cookie, "").encode(), self._session.encode()):
                answer: Response = PlainTextResponse(
                    "This address was used already, or differs from the one that tracinctl printed.\n"
                    "Stop tracinctl review with Ctrl-C and start it again for a new address.\n",
                    status_code=403,
                )
            else:
                try:
                    waits = inspect.iscoroutinefunction(handler)
                    answer = await (handler(request) if waits else run_in_threadpool(handler, request))
                except TracinctlError as error:
                    answer = JSONResponse({"error": error.message, "hint": error.hint}, status_code=400)
            answer.headers.update({name: value for name, value in _HEADERS.items() if name not in answer.headers})
            return answer

        return checked

    @staticmethod
    def _file(name: str, kind: str) -> Handler:
        return lambda _: Response(page_file(name), media_type=kind)

    def _suspects(self, _: Request) -> Response:
        """All suspects with their decisions, and the expectation of the next ones."""
        review = self.review
        decisions = read_decisions(review.decisions)
        mine = self._mine(decisions)
        relabelled = {name: decision.decision for name, decision in mine.items() if name not in self._suspects_by_id}
        answer = {
            "title": review.title,
            "by": review.by,
            "who": review.who,
            "classes": list(review.classes),
            "suspects": [
                {
                    "id": suspect.id,
                    "items": suspect.items,
                    "classes": suspect.classes,
                    "annotator": suspect.annotator,
                    "decision": mine.get(suspect.id, _UNDECIDED).decision,
                    "note": mine.get(suspect.id, _UNDECIDED).note,
                }
                for suspect in review.suspects
            ],
            "relabelled": {name: decision for name, decision in relabelled.items() if decision.startswith(RELABEL)},
            **self._progress(decisions),
        }
        return JSONResponse(answer)

    def _mine(self, decisions: Sequence[Decision]) -> dict[str, Decision]:
        return {decision.id: decision for decision in decisions if decision.who == self.review.who}

    def _progress(self, decisions: Sequence[Decision]) -> dict[str, Any]:
        """The values that change with each decision, besides the decision itself."""
        mine = self._mine(decisions)
        errors = [mine[suspect.id].is_error if suspect.id in mine else None for suspect in self.review.suspects]
        expectation = expect_errors([suspect.suspicion for suspect in self.review.suspects], errors)
        return {
            "disputed": sorted(settle(decisions).disputed),
            "expectation": expectation.sentence() if expectation is not None else "",
        }

    def _card(self, request: Request) -> Response:
        name = request.query_params.get("id", "")
        if name not in self._suspects_by_id:
            raise TracinctlError(f"no suspect {name!r}", hint="Load the page again.")
        return HTMLResponse(self._cards.html(self._suspects_by_id[name], by_id(read_decisions(self.review.decisions))))

    def _path_of(self, request: Request, kind: str) -> Path:
        """The path of an item's sound or picture."""
        name = request.query_params.get("item", "")
        path: Path | None = getattr(self.review.item(name), kind) if name in self._items else None
        if path is None:
            raise TracinctlError(f"no {kind} of an item {name!r}", hint="Load the page again.")
        return path

    def _spectrogram(self, request: Request) -> Response:
        picture = png(levels_of(self.review.file(self._path_of(request, "sound"))))
        return Response(picture, media_type="image/png", headers={"Cache-Control": "private, max-age=600"})

    def _sound(self, request: Request) -> Response:
        path = self._path_of(request, "sound")
        file, kind = self.review.file(path), _PLAYABLE.get(path.suffix.lower())
        return FileResponse(file if kind else self._converted(file), media_type=kind or "audio/wav")

    def _converted(self, path: Path) -> Path:
        """Convert a sound to a WAV file that browsers can play and seek; it is removed with the server."""
        import soundfile

        copy = Path(self._copies.name) / f"{hashlib.sha256(str(path).encode()).hexdigest()}.wav"
        if not copy.exists():
            samples, rate = soundfile.read(path)
            converted = copy.with_suffix(f".{secrets.token_hex(4)}")
            soundfile.write(converted, samples, rate, format="WAV")
            converted.replace(copy)
        return copy

    def _picture(self, request: Request) -> Response:
        return FileResponse(self.review.file(self._path_of(request, "picture")))

    async def _decide(self, request: Request) -> Response:
        if request.headers.get("origin") != f"http://{request.headers.get('host')}":
            return PlainTextResponse("only this page may send decisions", status_code=403)
        try:
            rows = (await request.json())["decisions"]
            changes = [Decision(str(row["id"]), str(row["decision"]), str(row.get("note", ""))) for row in rows]
        except (ValueError, KeyError, TypeError, AttributeError):
            return PlainTextResponse("not a decision", status_code=400)
        for change in changes:
            if change.id not in self._suspects_by_id and change.id not in self._items:
                raise TracinctlError(f"no suspect {change.id!r}", hint="Load the page again.")
        return JSONResponse(await run_in_threadpool(self._record, changes))

    def _record(self, changes: Sequence[Decision]) -> dict[str, Any]:
        """Write decisions, and withdraw those that are empty. The answer is sent after they are on the disk."""
        who, when = self.review.who, datetime.now(UTC).isoformat(timespec="seconds")
        withdrawn = [(change.id, who) for change in changes if not change.decision]
        decisions = [replace(change, who=who, when=when) for change in changes if change.decision]
        for decision in decisions:
            check_decision(decision.decision)
        return self._progress(record(self.review.decisions, decisions, withdrawn=withdrawn))
