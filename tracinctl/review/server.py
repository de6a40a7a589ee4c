"""The page of a review, served to this machine alone.

Whoever has the address of the first visit gets a session: its token is good once. Every other request needs the
session's cookie, which other sites cannot send, and a decision needs this page's origin as well. Files are named by
item, never by path.
"""

from __future__ import annotations

import base64
import hmac
import io
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from tracinctl.errors import TracinctlError
from tracinctl.review.decisions import Decision, check_decision, read_decisions, record, settle
from tracinctl.review.expectation import expect_errors
from tracinctl.review.spectrogram import FLOOR_DB, picture_of
from tracinctl.review.suspects import Review

COOKIE = "tracinctl-review"
_PLAYABLE = {".wav", ".flac", ".ogg", ".mp3"}
_MOST_AT_ONCE = 10_000
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Handler = Callable[[Request], Awaitable[Response]]


class ReviewServer:
    """The pages and answers of one review.

    Args:
        review: what is reviewed.

    Attributes:
        token: of the first visit: ``/?token=...``.
        app: the application, for any ASGI server.
    """

    def __init__(self, review: Review) -> None:
        self.review = review
        self.token = secrets.token_urlsafe(24)
        self._session = secrets.token_urlsafe(24)
        self._visited = False
        self._known = {suspect.id: suspect for suspect in review.suspects}
        self._items = {item for suspect in review.suspects for item in suspect.items}
        self.app = Starlette(
            routes=[
                Route("/", self._first_page),
                Route("/page.js", self._inside(self._file("page.js", "text/javascript"))),
                Route("/page.css", self._inside(self._file("page.css", "text/css"))),
                Route("/suspects", self._inside(self._suspects)),
                Route("/card", self._inside(self._card)),
                Route("/spectrogram", self._inside(self._spectrogram)),
                Route("/sound", self._inside(self._sound)),
                Route("/picture", self._inside(self._picture)),
                Route("/decide", self._inside(self._decide), methods=["POST"]),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
        )

    async def _first_page(self, request: Request) -> Response:
        given = request.query_params.get("token")
        if given is not None and not self._visited and hmac.compare_digest(given.encode(), self.token.encode()):
            self._visited = True
            answer = RedirectResponse("/", status_code=303)
            answer.set_cookie(COOKIE, self._session, httponly=True, samesite="strict")
            return answer
        return await self._inside(self._file("page.html", "text/html"))(request)

    def _inside(self, handler: Handler) -> Handler:
        """The handler, for requests of this session only."""

        async def checked(request: Request) -> Response:
            if not hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self._session.encode()):
                answer: Response = PlainTextResponse(
                    "This address was used already, or is not the one that tracinctl printed.\n"
                    "Stop tracinctl review with Ctrl-C and start it again for a new address.\n",
                    status_code=403,
                )
            else:
                try:
                    answer = await handler(request)
                except TracinctlError as error:
                    answer = JSONResponse({"error": error.message, "hint": error.hint}, status_code=400)
            answer.headers.update({name: value for name, value in _HEADERS.items() if name not in answer.headers})
            return answer

        return checked

    @staticmethod
    def _file(name: str, kind: str) -> Handler:
        async def handler(_: Request) -> Response:
            text = resources.files("tracinctl.review").joinpath("page", name).read_text(encoding="utf-8")
            return Response(text, media_type=kind)

        return handler

    async def _suspects(self, _: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._overview))

    def _overview(self) -> dict[str, Any]:
        """All suspects with their decisions, and what is expected of the next ones."""
        review = self.review
        made = read_decisions(review.decisions)
        mine = {one.id: one for one in made if one.who == review.who}
        others: dict[str, list[list[str]]] = {}
        for one in made:
            if one.who != review.who:
                others.setdefault(one.id, []).append([one.who, one.decision])
        return {
            "title": review.title,
            "order": review.order,
            "who": review.who,
            "classes": list(review.classes),
            "suspects": [
                {
                    "id": suspect.id,
                    "items": suspect.items,
                    "label": suspect.label,
                    "annotator": suspect.annotator,
                    "chance": suspect.chance,
                    "decision": mine[suspect.id].decision if suspect.id in mine else "",
                    "note": mine[suspect.id].note if suspect.id in mine else "",
                    "others": others.get(suspect.id, []),
                }
                for suspect in review.suspects
            ],
            "relabelled": {one.id: one.decision for one in mine.values() if one.id not in self._known},
            "disputed": sorted(settle(made).disputed),
            "expectation": self._expectation(mine),
        }

    def _expectation(self, mine: dict[str, Decision]) -> str:
        errors = [mine[suspect.id].is_error if suspect.id in mine else None for suspect in self.review.suspects]
        said = expect_errors([suspect.suspicion for suspect in self.review.suspects], errors)
        return said.sentence() if said is not None else ""

    async def _card(self, request: Request) -> Response:
        name = request.query_params.get("id", "")
        if name not in self._known:
            raise TracinctlError(f"no suspect {name!r}")
        return JSONResponse(await run_in_threadpool(self._card_of, name))

    def _card_of(self, name: str) -> dict[str, Any]:
        views = [self.review.item(item) for item in self._known[name].items]
        items = [
            {
                "id": view.id,
                "label": view.label,
                "text": view.text,
                "sound": view.sound is not None,
                "picture": view.picture is not None,
            }
            for view in views
        ]
        return {**self.review.card(name), "id": name, "items": items}

    def _item_of(self, request: Request) -> Any:
        name = request.query_params.get("item", "")
        if name not in self._items:
            raise TracinctlError(f"no item {name!r}")
        return self.review.item(name)

    async def _spectrogram(self, request: Request) -> Response:
        path = self._item_of(request).sound
        if path is None:
            return PlainTextResponse("no sound", status_code=404)
        drawn = await run_in_threadpool(picture_of, path)
        return JSONResponse(
            {
                "rows": drawn.rows,
                "columns": drawn.columns,
                "levels": base64.b64encode(drawn.levels).decode(),
                "seconds": drawn.seconds,
                "highest": drawn.highest,
                "floor": FLOOR_DB,
            },
            headers={"Cache-Control": "private, max-age=600"},
        )

    async def _sound(self, request: Request) -> Response:
        path = self._item_of(request).sound
        if path is None:
            return PlainTextResponse("no sound", status_code=404)
        if path.suffix.lower() in _PLAYABLE:
            return FileResponse(path)
        return Response(await run_in_threadpool(_as_wav, path), media_type="audio/wav")

    async def _picture(self, request: Request) -> Response:
        path = self._item_of(request).picture
        return PlainTextResponse("no picture", status_code=404) if path is None else FileResponse(path)

    async def _decide(self, request: Request) -> Response:
        if request.headers.get("origin") != f"http://{request.headers.get('host')}":
            return PlainTextResponse("decisions are taken from this page only", status_code=403)
        try:
            asked = await request.json()
            wanted = {str(name): str(decision) for name, decision in asked["decisions"].items()}
            note = str(asked.get("note", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            return PlainTextResponse("not a decision", status_code=400)
        unknown = [name for name in wanted if name not in self._known and name not in self._items]
        if unknown or len(wanted) > _MOST_AT_ONCE:
            raise TracinctlError(f"no suspect {unknown[0]!r}" if unknown else "too many decisions at once")
        return JSONResponse({"expectation": await run_in_threadpool(self._record, wanted, note)})

    def _record(self, wanted: dict[str, str], note: str) -> str:
        who, when = self.review.who, datetime.now(UTC).isoformat(timespec="seconds")
        made = [Decision(name, check_decision(text), note, who, when) for name, text in wanted.items() if text]
        record(self.review.decisions, made, withdrawn=[(name, who) for name, text in wanted.items() if not text])
        return self._expectation({one.id: one for one in read_decisions(self.review.decisions) if one.who == who})


def _as_wav(path: Any) -> bytes:
    import soundfile

    samples, rate = soundfile.read(path)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV")
    return buffer.getvalue()
