"""A page's parameters, read from the request and validated."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import parse_qsl

from fastapi import params as fastapi_params
from pydantic import BaseModel, TypeAdapter, ValidationError

from ..errors import DeclarationError, Problem
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
    validate: Callable[[Any], Any] | None
    default: Any
    is_list: bool


class RequestInputs:
    """Reads the parameters of one page on one route. Raises a 422 problem that names each wrong one."""

    def __init__(self, plan: Plan, path_names: list[str]) -> None:
        self.declared = [self._declare(plan, entry, path_names) for entry in plan.inputs]
        names = {entry.name for entry in plan.inputs}
        if unused := [name for name in path_names if name not in names]:
            raise DeclarationError(f"{plan.name}: the path gives '{unused[0]}', which no section takes")
        self._bound = [
            self._bind(entry, parameter) for entry, parameter in zip(plan.inputs, self.declared, strict=True)
        ]
        self.body = next((bound for bound in self._bound if bound.kind == "body"), None)
        self.query_names = [bound.wire_name for bound in self._bound if bound.kind == "query"]
        self.by_path_and_query = all(bound.kind in ("path", "query") for bound in self._bound)
        headers = {bound.wire_name for bound in self._bound if bound.kind == "header"}
        self.vary = frozenset(headers | {"cookie" for bound in self._bound if bound.kind == "cookie"})

    def fill(
        self, values: list[Any], path: dict[str, Any], query: Query, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Put every parameter's value into its slot."""
        wrong: list[dict[str, str]] = []
        for bound in self._bound:
            if bound.kind == "body":
                self._read_body(bound, values, body, wrong)
                continue
            if bound.kind == "path":
                raw: Any = path[bound.name]
            elif bound.kind == "query":
                found = query.get(bound.wire_name)
                raw = None if found is None else found if bound.is_list else found[-1]
            else:
                key = bound.wire_name.encode()
                raw = next((value.decode("latin-1") for name, value in headers if name == key), None)
            self._put(bound, values, raw, wrong)
        if wrong:
            raise Problem(422, "The request has parameters that are missing or not valid.", errors=wrong[:SHOWN])

    def _put(self, bound: _Bound, values: list[Any], raw: Any, wrong: list[dict[str, str]]) -> None:
        if raw is None:
            if bound.default is inspect.Parameter.empty:
                wrong.append({"in": bound.kind, "name": bound.wire_name, "detail": "is required"})
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
        if marker is not None:
            return marker
        if isinstance(base, type) and issubclass(base, BaseModel):
            return fastapi_params.Body()
        return fastapi_params.Query()

    @staticmethod
    def _bind(entry: Input, parameter: fastapi_params.Param | fastapi_params.Body) -> _Bound:
        annotated: Any = Annotated[entry.annotation, parameter]
        adapter: TypeAdapter[Any] = TypeAdapter(annotated)
        kind = "body" if isinstance(parameter, fastapi_params.Body) else parameter.in_.value
        wire_name = parameter.alias or (entry.name.replace("_", "-") if kind == "header" else entry.name)
        plain = entry.annotation is str and kind == "path" and not parameter.metadata
        validate = adapter.validate_json if kind == "body" else adapter.validate_python
        return _Bound(
            slot=entry.slot,
            name=entry.name,
            kind=kind,
            wire_name=wire_name.lower() if kind == "header" else wire_name,
            validate=None if plain else validate,
            default=entry.default,
            is_list=_is_list(entry.annotation),
        )


def _is_list(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_list(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return any(_is_list(alternative) for alternative in get_args(annotation))
    return origin in (list, set, tuple, frozenset)
