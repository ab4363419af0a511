"""A page that carries out each request once: the way of a request with an Idempotency-Key."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeAlias

from starlette.types import Message, Receive, Scope, Send

from ..context import RequestContext
from ..errors import Problem
from ..stores import StoreUnavailable
from .ledger import Claim, Ledger
from .record import Answer, Verdict, answer_of, fingerprint_of, is_certain

__all__ = ["KEY_PATTERN", "Mode", "Once"]

Mode = Literal["required", "optional"]
Serve: TypeAlias = Callable[[Scope, Receive, Send, RequestContext, dict[str, Any]], Awaitable[None]]

KEY_PATTERN = "[!-~]{8,255}"
REPLAYED = (b"idempotency-replayed", b"true")
ATTEMPT = "bff.idempotency"
_KEY = re.compile(KEY_PATTERN.encode())
_RETRY = {"retry-after": "1"}


class Once:
    """The Idempotency-Key (draft-ietf-httpapi-idempotency-key-header) of one page, whose requests are recorded in
    ``ledger``: a 400 problem when it is ``required`` and missing, or of another form; 422 when this principal has used
    it for another request; 409 while that one is under way; 503 when the store cannot tell, unless it may be done
    without; the first answer with ``Idempotency-Replayed: true`` when there was one."""

    def __init__(self, ledger: Ledger, mode: Mode) -> None:
        ledger.open()
        self._ledger = ledger
        self.required = mode == "required"

    async def serve(
        self, page: Serve, scope: Scope, receive: Receive, send: Send, context: RequestContext, params: dict[str, Any]
    ) -> None:
        """Have ``page`` answer, which calls ``claim`` before it does anything that has an effect."""
        context.exchange = None  # the short way out passes by the record
        attempt = scope[ATTEMPT] = _Attempt(self._ledger, send)
        try:
            await page(scope, receive, attempt.send, context, params)
        except _Known as known:
            await _replay(known.answer, send, context)
        except Problem as problem:
            await attempt.settle(_kept(problem, scope, context) if attempt.claim is not None else None)
            raise
        except Exception:
            await attempt.settle(None)
            raise

    def begun(self, scope: Scope) -> bool:
        """Whether ``serve`` has the request already."""
        return ATTEMPT in scope

    async def claim(self, scope: Scope, context: RequestContext, body: bytes) -> None:
        """Return when the request is to be carried out now, and by nobody else; raise when it is not."""
        key = _read_key(scope["headers"])
        if key is None:
            if self.required:
                raise Problem(400, "Send an Idempotency-Key: 8 to 255 visible ASCII characters, new for each request.")
            return
        # The same bytes may mean something else in another version, which is not answered in this one's form either.
        fingerprint = fingerprint_of(
            scope["method"].encode(),
            scope["path"].encode(errors="surrogatepass"),
            scope["query_string"],
            (context.version or "").encode(),
            body,
        )
        try:
            found = await self._ledger.claim(f"{context.authenticated().whose!r}\0{key}", fingerprint)
        except StoreUnavailable:
            if self._ledger.denies:
                raise Problem(
                    503, "Whether this was done already cannot be told now; try again soon.", headers=_RETRY
                ) from None
            return
        if not isinstance(found, Claim):
            raise _refusal(found)
        scope[ATTEMPT].claim = found


class _Attempt:
    """One request's try: its claim, if it has one, and its answer until that is recorded."""

    __slots__ = ("_ledger", "_send", "_start", "claim")

    def __init__(self, ledger: Ledger, send: Send) -> None:
        self.claim: Claim | None = None
        self._ledger = ledger
        self._send = send
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """Record the page's answer, then give it: whoever does not get it will find it."""
        if self.claim is None:
            await self._send(message)
        elif message["type"] == "http.response.start":
            self._start = message
        else:
            start = self._start or {}
            await self.settle(answer_of(start["status"], start["headers"], message["body"]))
            await self._send(start)
            await self._send(message)

    async def settle(self, answer: Answer | None) -> None:
        """It ended; what it was is said once."""
        claim, self.claim = self.claim, None
        if claim is not None:
            await self._ledger.settle(claim, answer)


class _Known(Exception):
    """It was answered before."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


def _read_key(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    found = [value for name, value in headers if name == b"idempotency-key"]
    if not found:
        return None
    if len(found) > 1 or _KEY.fullmatch(found[0]) is None:
        raise Problem(400, "One Idempotency-Key is 8 to 255 visible ASCII characters.")
    return found[0].decode()


def _refusal(found: Verdict) -> Exception:
    if found == "other":
        return Problem(422, "This Idempotency-Key was used for another request; send a new one.")
    if not isinstance(found, Answer):
        return Problem(409, "The request with this Idempotency-Key is still under way.", headers=_RETRY)
    if found.body is None:
        return Problem(409, "The request with this Idempotency-Key was carried out; its answer was too large to keep.")
    return _Known(found)


def _kept(problem: Problem, scope: Scope, context: RequestContext) -> Answer | None:
    if not is_certain(problem.status):
        return None
    body, kind = context.write_problem(problem, scope, context)
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in problem.headers.items()]
    fixed = [(b"content-type", kind), (b"cache-control", b"no-store")]
    return answer_of(problem.status, [*fixed, *headers], body)


async def _replay(answer: Answer, send: Send, context: RequestContext) -> None:
    body = answer.body or b""
    length = (b"content-length", b"%d" % len(body))
    headers = [*answer.headers, length, REPLAYED, *context.reply_headers]
    context.status = answer.status
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
