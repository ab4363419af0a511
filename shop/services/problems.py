"""Errors of the services as problem documents (RFC 9457)."""

from __future__ import annotations

import json
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Send

__all__ = ["Problem", "add_problem_handlers", "not_found", "send_problem"]

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An error for the caller."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail

    def body(self) -> bytes:
        """The document."""
        title = HTTPStatus(self.status).phrase
        return json.dumps(
            {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        ).encode()


def not_found(what: str) -> Problem:
    """The 404 for ``what``."""
    return Problem(404, f"There is no such {what}.")


async def send_problem(problem: Problem, send: Send, *, close: bool) -> None:
    """Answer with ``problem`` from a middleware."""
    body = problem.body()
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def add_problem_handlers(app: FastAPI) -> None:
    """Render every error of ``app`` as a problem document."""

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 - registered for this class alone
        return Response(error.body(), error.status, media_type=MEDIA_TYPE)

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
        return Response(Problem(error.status_code, str(error.detail)).body(), error.status_code, media_type=MEDIA_TYPE)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
        text = "; ".join(f"{'.'.join(str(part) for part in entry['loc'])}: {entry['msg']}" for entry in error.errors())
        return Response(Problem(422, text).body(), 422, media_type=MEDIA_TYPE)

    async def crash(_: Request, __: Exception) -> Response:
        return Response(Problem(500, "Something went wrong here.").body(), 500, media_type=MEDIA_TYPE)

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, crash)
