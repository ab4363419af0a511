"""A page's parameters, read from the request and validated."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin
from urllib.parse import parse_qsl

from fastapi import params as fastapi_params
from pydantic import TypeAdapter, ValidationError
from starlette.requests import cookie_parser

from ..clients import is_sequence, is_simple, is_text
from ..errors import DeclarationError, Problem
from .annotations import show
from .plan import Input, Plan

__all__ = ["Query", "RequestInputs", "parse_query"]

MAX_QUERY_FIELDS = 100
SHOWN = 20
SEGMENT = r"^(?!\.{1,2}(;|$))[^/\\\u0000-\u001f\u007f-\u009f\u2028\u2029]+$"
Query = dict[str, list[str]]


def parse_query(query_string: bytes) -> Query:
    """The query's fields, each with all its values; raises a 400 problem when it is not usable."""
    found: Query = {}
    if not query_string:
        return found
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS, errors="strict"
        )
    except ValueError:
        raise Problem(400, f"The query is not valid UTF-8, or has more than {MAX_QUERY_FIELDS} fields.") from None
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


@dataclass(frozen=True, slots=True)
class _Bound:
    slot: int
    name: str
    kind: str
    wire_name: str
    key: bytes
    validate: Callable[[Any], Any] | None
    default: Any
    is_copied: bool
    is_list: bool


class RequestInputs:
    """Reads the parameters of one page on one route. Raises a 422 problem that names each wrong one."""

    def __init__(self, plan: Plan, path_names: list[str]) -> None:
        self.declared = [self._declare(plan, entry, path_names) for entry in plan.inputs]
        names = {entry.name for entry in plan.inputs}
        if unused := [name for name in path_names if name not in names]:
            raise DeclarationError(f"{plan.name}: the path gives '{unused[0]}', which no section takes")
        for entry, parameter in zip(plan.inputs, self.declared, strict=True):
            _check(plan, entry, parameter)
        self._bound = [
            self._bind(entry, parameter) for entry, parameter in zip(plan.inputs, self.declared, strict=True)
        ]
        bodies = [bound for bound in self._bound if bound.kind == "body"]
        if len(bodies) > 1:
            several = ", ".join(bound.name for bound in bodies)
            raise DeclarationError(f"{plan.name}: more than one body parameter: {several}; make one model of them")
        self.body = bodies[0] if bodies else None
        self.may_lack_body = self.body is None or self.body.default is not inspect.Parameter.empty
        self.query_names = [bound.wire_name for bound in self._bound if bound.kind == "query"]
        self.by_path_and_query = all(bound.kind in ("path", "query") for bound in self._bound)
        headers = {bound.wire_name for bound in self._bound if bound.kind == "header"}
        self.vary = frozenset(headers | {"cookie" for bound in self._bound if bound.kind == "cookie"})

    def fill(
        self, values: list[Any], path: dict[str, Any], query: Query, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Put every parameter's value into its slot."""
        wrong: list[dict[str, str]] = []
        cookies: dict[str, str] | None = None
        for bound in self._bound:
            if bound.kind == "body":
                self._read_body(bound, values, body, wrong)
                continue
            if bound.kind == "path":
                raw: Any = path[bound.name]
            elif bound.kind == "query":
                found = query.get(bound.wire_name)
                raw = None if found is None else found if bound.is_list else found[-1]
            elif bound.kind == "header":
                found = [value.decode("latin-1") for name, value in headers if name == bound.key]
                raw = None if not found else found if bound.is_list else found[0]
            else:
                if cookies is None:
                    cookies = _cookies(headers)
                raw = cookies.get(bound.wire_name)
            self._put(bound, values, raw, wrong)
        if wrong:
            raise Problem(422, "The request has parameters that are missing or not valid.", errors=wrong[:SHOWN])

    def _put(self, bound: _Bound, values: list[Any], raw: Any, wrong: list[dict[str, str]]) -> None:
        if raw is None:
            if bound.default is inspect.Parameter.empty:
                wrong.append({"in": bound.kind, "name": bound.wire_name, "detail": "is required"})
            elif bound.is_copied:
                values[bound.slot] = copy.deepcopy(bound.default)
            return
        if bound.validate is None:
            values[bound.slot] = raw
            return
        try:
            values[bound.slot] = bound.validate(raw)
        except ValidationError as error:
            wrong.extend(
                {"in": bound.kind, "name": bound.wire_name, "detail": entry["msg"]}
                for entry in error.errors(include_url=False, include_input=False, include_context=False)[:SHOWN]
            )

    def _read_body(self, bound: _Bound, values: list[Any], body: bytes, wrong: list[dict[str, str]]) -> None:
        if not body and bound.default is not inspect.Parameter.empty:
            if bound.is_copied:
                values[bound.slot] = copy.deepcopy(bound.default)
            return
        adapter: Any = bound.validate
        try:
            values[bound.slot] = adapter(body)
        except ValidationError as error:
            for entry in error.errors(include_url=False, include_input=False, include_context=False)[:SHOWN]:
                pointer = "/" + "/".join(str(part) for part in entry["loc"])
                wrong.append({"in": "body", "pointer": pointer, "detail": entry["msg"]})

    @staticmethod
    def _declare(plan: Plan, entry: Input, path_names: list[str]) -> fastapi_params.Param | fastapi_params.Body:
        base, *extras = get_args(entry.annotation) if get_origin(entry.annotation) is Annotated else [entry.annotation]
        marker = next((x for x in extras if isinstance(x, (fastapi_params.Param, fastapi_params.Body))), None)
        if entry.name in path_names:
            if isinstance(marker, fastapi_params.Path):
                return marker
            # For the document alone: the edge has refused every other segment before.
            return fastapi_params.Path(json_schema_extra={"pattern": SEGMENT} if base is str else None)
        if entry.implied:
            raise DeclarationError(
                f"{plan.name}: '{entry.name}' is needed, but the route's path does not give it; "
                f"put '{{{entry.name}}}' into the path, bind it, or declare it: '{entry.name}: {base.__name__}'"
            )
        return marker or (fastapi_params.Query() if is_simple(base) else fastapi_params.Body())

    @staticmethod
    def _bind(entry: Input, parameter: fastapi_params.Param | fastapi_params.Body) -> _Bound:
        annotated: Any = Annotated[entry.annotation, parameter]
        adapter: TypeAdapter[Any] = TypeAdapter(annotated)
        kind = "body" if isinstance(parameter, fastapi_params.Body) else parameter.in_.value
        wire_name = parameter.alias or (entry.name.replace("_", "-") if kind == "header" else entry.name)
        if kind == "header":
            wire_name = wire_name.lower()
        plain = entry.annotation is str and kind == "path" and not parameter.metadata
        validate = adapter.validate_json if kind == "body" else adapter.validate_python
        return _Bound(
            slot=entry.slot,
            name=entry.name,
            kind=kind,
            wire_name=wire_name,
            key=wire_name.encode(),
            validate=None if plain else validate,
            default=entry.default,
            # What cannot be changed is its own copy.
            is_copied=copy.deepcopy(entry.default) is not entry.default,
            is_list=is_sequence(entry.annotation),
        )


def _check(plan: Plan, entry: Input, parameter: fastapi_params.Param | fastapi_params.Body) -> None:
    """Raise ``DeclarationError`` for what such a parameter never has."""
    if isinstance(parameter, fastapi_params.Body):
        if getattr(parameter, "embed", None):
            raise DeclarationError(f"{plan.name}: '{entry.name}' is the whole body; instead of embed=True make a model")
        return
    kind = parameter.in_.value
    one = isinstance(parameter, (fastapi_params.Path, fastapi_params.Cookie))
    base = get_args(entry.annotation)[0] if get_origin(entry.annotation) is Annotated else entry.annotation
    if not (is_text(base) if one else is_simple(base)):
        raise DeclarationError(
            f"{plan.name}: no {kind} parameter can carry '{entry.name}: {show(base)}'; "
            f"the body of a POST, PUT or PATCH page can: '{entry.name}: Annotated[..., Body()]'"
        )


def _cookies(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """What ``Cookie`` (RFC 6265 section 4.2) brings; HTTP/2 may have split it into several (RFC 9113 section 8.2.3)."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name == b"cookie":
            found.update(cookie_parser(value.decode("latin-1")))
    return found
