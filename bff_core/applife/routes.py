"""The routes of apps' life: OFREP (OpenFeature Remote Evaluation Protocol 0.1) and the registration of push tokens."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request, Response
from pydantic import BaseModel, Field, ValidationError

from ..auth import Authenticator, Gate
from ..context import current_context
from ..delivery import Deliverer, entity_tag
from ..errors import DeclarationError, Problem
from ..pages.body import read_json_body
from ..pages.inputs import SEGMENT
from ..pages.route import SECURITY, ProblemDocument
from ..settings import Settings
from ..stores import StoreUnavailable
from .flags import Evaluated
from .push import PushToken, PushTokens
from .service import AppLife

__all__ = ["FLAGS", "PUSH", "mount"]

FLAGS = "/ofrep/v1/evaluate/flags"
PUSH = "/push/{install}"
Key = Annotated[str, Path(json_schema_extra={"pattern": SEGMENT})]
PRIVATE = {"cache-control": "private, no-store"}
Install = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{8,64}$", description="Random, made at the app's first start.")]


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "context": {
                            "type": "object",
                            "properties": {"targetingKey": {"type": "string", "maxLength": 256}},
                        }
                    },
                }
            }
        },
    }
}
_PROBLEMS = {
    400: "The request is not usable.",
    401: "Credentials are missing or not valid.",
    403: "This version of the app is no longer served.",
    404: "There is no such flag.",
    415: "The body is not JSON.",
    422: "The request is not usable.",
    503: "Push tokens cannot be kept now.",
}


class EvaluationContext(BaseModel):
    """What an OpenFeature client says of itself. Nothing is believed but ``targetingKey``, of who has no principal."""

    targeting_key: Annotated[str | None, Field(alias="targetingKey", max_length=256)] = None


class EvaluationRequest(BaseModel):
    """An evaluation's request."""

    context: EvaluationContext = EvaluationContext()


class Evaluation(BaseModel):
    """A flag, evaluated."""

    key: str
    value: Any
    reason: str
    variant: str


class Evaluations(BaseModel):
    """All flags, evaluated."""

    flags: list[Evaluation]


def mount(app: FastAPI, life: AppLife, *, gateway: str, settings: Settings, auth: Authenticator | None) -> None:
    """Give ``app``, the ``gateway`` of that name, the routes of ``life``. Raises ``DeclarationError`` when there are
    push tokens but nobody whose they could be."""
    flags = _Flags(life, Deliverer(settings.delivery, tags=True), settings.max_body)
    security = {} if auth is None else {"security": Gate(auth).requirements(SECURITY)}
    common: dict[str, Any] = {"methods": ["POST"], "tags": ["app"], "openapi_extra": {**_BODY, **security}}
    known: dict[int | str, dict[str, Any]] = {}
    if settings.delivery.etag:
        known[304] = {"description": "It is still what `If-None-Match` names."}
    app.add_api_route(
        FLAGS,
        flags.every,
        name="Flags",
        response_model=Evaluations,
        responses={**known, **_problems(400, 415)},
        **common,
    )
    app.add_api_route(
        FLAGS + "/{key}",
        flags.one,
        name="Flag",
        response_model=Evaluation,
        responses=_problems(400, 404, 415),
        **common,
    )
    life.reach(FLAGS)
    if life.push is not None:
        if auth is None:
            raise DeclarationError(f"push tokens are somebody's, but gateway '{gateway}' has no authentication")
        life.push.open(gateway)
        tokens = _Tokens(life.push)
        common = {"status_code": 204, "response_model": None, "tags": ["app"], "openapi_extra": security}
        common["responses"] = _problems(422, 503)
        app.add_api_route(PUSH, tokens.put, name="Register push token", methods=["PUT"], **common)
        app.add_api_route(PUSH, tokens.delete, name="Forget push token", methods=["DELETE"], **common)


class _Flags:
    """The evaluation of flags. Errors are problem documents with the members that OFREP has besides."""

    def __init__(self, life: AppLife, deliverer: Deliverer, max_body: int) -> None:
        self._life = life
        self._deliverer = deliverer
        self._max_body = max_body

    async def every(self, request: Request) -> Response:
        """All flags for who asks. With `If-None-Match`, 304 when they are what the client has."""
        found = await self._evaluate(request)
        content = _json({"flags": [_shown(key, flag) for key, flag in found.items()]})
        tag = entity_tag(content) if self._deliverer.tags else b""
        status, content, headers = self._deliverer.deliver(request.scope["headers"], 200, content, tag)
        answer = Response(content, status, media_type="application/json", headers=PRIVATE)
        answer.raw_headers += headers
        return answer

    async def one(self, request: Request, key: Key) -> Response:
        """One flag for who asks."""
        found = await self._evaluate(request)
        if key not in found:
            raise _problem(404, "FLAG_NOT_FOUND", "There is no such flag.", key=key)
        return Response(_json(_shown(key, found[key])), media_type="application/json", headers=PRIVATE)

    async def _evaluate(self, request: Request) -> dict[str, Evaluated]:
        body = await read_json_body(request.scope, request.receive, self._max_body)
        try:
            asked = EvaluationRequest.model_validate_json(body or b"{}")
        except ValidationError as error:
            code = "PARSE_ERROR" if error.errors()[0]["type"] == "json_invalid" else "INVALID_CONTEXT"
            raise _problem(400, code, 'The body is not {"context": {"targetingKey": "…"}}.') from None
        return self._life.evaluate(request.scope, current_context(), asked.context.targeting_key)


class _Tokens:
    """The registration of push tokens."""

    def __init__(self, tokens: PushTokens) -> None:
        self._tokens = tokens

    async def put(self, install: Install, body: PushToken) -> Response:
        """Register an installation's push token, or another one for it. May be sent again."""
        try:
            await self._tokens.register(current_context().authenticated(), install, body)
        except StoreUnavailable:
            raise _down() from None
        return Response(status_code=204, headers=PRIVATE)

    async def delete(self, install: Install) -> Response:
        """Push nothing to the installation any more. May be sent again."""
        try:
            await self._tokens.remove(current_context().authenticated(), install)
        except StoreUnavailable:
            raise _down() from None
        return Response(status_code=204, headers=PRIVATE)


def _shown(key: str, flag: Evaluated) -> dict[str, Any]:
    return {"key": key, "value": flag.value, "reason": flag.reason, "variant": flag.variant}


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {
        code: {"model": ProblemDocument, "description": text, "content": {"application/problem+json": {}}}
        for code, text in _PROBLEMS.items()
        if code in (401, 403, *codes)
    }


def _problem(status: int, code: str, detail: str, **members: Any) -> Problem:
    return Problem(status, detail, errorCode=code, errorDetails=detail, **members)


def _down() -> Problem:
    return Problem(503, "Push tokens cannot be kept now.", headers={"retry-after": "5"})


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
