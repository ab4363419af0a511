"""A page in an older version of the API: its parameters and body carried up to the head's, its answer down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin

from fastapi import params as fastapi_params
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json
from starlette.types import Scope

from ..context import RequestContext
from ..errors import DeclarationError, Problem
from ..versions import Removed, Renamed, Version, Versions
from .annotations import show
from .declare import Page
from .failure import undeclared
from .fields import only
from .inputs import Query, RequestInputs
from .paging import CURSOR
from .plan import Plan
from .select import Selection, Selector

__all__ = ["OlderPage", "PageVersions"]


SELECTION = ("fields", "include")


class PageVersions:
    """The versions of one page on one route; ``fixed`` is that of the route's path, if it names one."""

    __slots__ = ("_fixed", "_older", "_versions")

    def __init__(
        self, versions: Versions, page: type[Page], plan: Plan, inputs: RequestInputs, fixed: Version | None
    ) -> None:
        self._versions = versions
        self._fixed = fixed
        self._older = {
            version.name: OlderPage(versions, version, page, plan, inputs)
            for version in versions.all[1:]
            if (fixed is None or version is fixed) and versions.has_page(page, version)
        }

    def enter(self, scope: Scope, context: RequestContext) -> OlderPage | None:
        """The page as the request wants it, None for the head's. Raises a 400, 404 or 410 problem."""
        version = self._versions.resolve(scope, context, self._fixed)
        if version is self._versions.head:
            return None
        found = self._older.get(version.name)
        if found is None:
            raise Problem(404, f"Version {version.name} does not have this.")
        return found

    def older(self, version: Version) -> OlderPage | None:
        """The page in ``version``, None when it is the head or does not have it."""
        return self._older.get(version.name)


class OlderPage:
    """A page in one older version. Raises ``DeclarationError`` when its requests cannot be carried up."""

    __slots__ = (
        "_body",
        "_changes",
        "_inputs",
        "_names",
        "_plan",
        "_to_python",
        "_up",
        "answer",
        "body_model",
        "cursor",
        "down",
        "parameters",
        "selector",
    )

    def __init__(
        self, versions: Versions, version: Version, page: type[Page], plan: Plan, inputs: RequestInputs
    ) -> None:
        answer = versions.at(plan.model, version.name)
        self.answer = answer.model
        self.down = answer.down
        self.selector = Selector(plan, answer.model, answer.sources)
        self._to_python: Callable[..., Any] = plan.model.__pydantic_serializer__.to_python
        self._names = {other: name for name, others in answer.sources.items() for other in others}
        self._inputs = inputs
        self._plan = plan
        self._changes = versions.parameters(page, version)
        self.parameters = _older_parameters(plan, inputs, self._changes)
        self.cursor = next((older for older, head in self.parameters.items() if head == CURSOR), None)
        self.body_model: Any = None
        self._body: TypeAdapter[Any] | None = None
        self._up: Callable[[Any], Any] | None = None
        for entry, declared in zip(plan.inputs, inputs.declared, strict=True):
            if isinstance(declared, fastapi_params.Body):
                self._take_body(versions, version, plan, entry.annotation)

    def _take_body(self, versions: Versions, version: Version, plan: Plan, body: Any) -> None:
        if get_origin(body) is Annotated:
            body = get_args(body)[0]  # what else holds of it, the head checks
        at = versions.at(body, version.name)
        if at.irreversible is not None:
            raise DeclarationError(f"{plan.name}: what version {version.name} sends of {show(body)}: {at.irreversible}")
        self.body_model = at.model
        if at.up is not None:
            self._up = at.up
            self._body = TypeAdapter(at.model)

    def query(self, query: Query) -> Query:
        """The head's parameters. What only the head knows is not the client's to say."""
        if not self._changes:
            return query
        older: dict[str, Any] = {name: query[name] for name in (*self.parameters, *SELECTION) if name in query}
        for change in reversed(self._changes):
            change.to_newer(older)
        return {name: values if isinstance(values, list) else [str(values)] for name, values in older.items()}

    def fill(
        self,
        values: list[Any],
        path: dict[str, Any],
        query: Query,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
    ) -> None:
        """As ``RequestInputs.fill``; problems name what the client calls things."""
        try:
            self._inputs.fill(values, path, query, headers, self._lifted(body) if self._body and body else body)
        except Problem as problem:
            for entry in problem.extensions.get("errors", ()):
                if entry["in"] == "query":
                    entry["name"] = next(
                        (older for older, head in self.parameters.items() if head == entry["name"]), entry["name"]
                    )
            raise

    def serialize(self, shaped: BaseModel, selection: Selection) -> bytes:
        """The answer."""
        try:
            data = self._to_python(shaped, mode="json", include=selection.fields, by_alias=True, warnings="error")
        except PydanticSerializationError as error:
            raise undeclared(self._plan, error)  # noqa: B904 - it has its cause
        if self.down is not None:
            data = self.down(data)
        if selection.asked is not None:
            data = only(data, selection.asked)
        return to_json(data, inf_nan_mode="null")  # as the head does

    def degraded(self, sections: Sequence[str]) -> list[str]:
        """The sections that failed, as the client knows them."""
        return [self._names.get(name, name) for name in sections]

    def _lifted(self, body: bytes) -> bytes:
        assert self._body is not None  # noqa: S101 - asked by the caller
        assert self._up is not None  # noqa: S101 - they come together
        try:
            valid = self._body.validate_json(body)
            plain = self._body.dump_python(
                valid, mode="json", by_alias=True, exclude_unset=True, round_trip=True, warnings=False
            )
            return to_json(self._up(_as_read(from_json(body), plain)))
        except ValidationError as error:
            found = [
                {"in": "body", "pointer": "/" + "/".join(str(part) for part in entry["loc"]), "detail": entry["msg"]}
                for entry in error.errors(include_url=False, include_input=False, include_context=False)
            ]
        except (ValueError, ArithmeticError):  # what a change cannot make anything of
            found = [{"in": "body", "pointer": "", "detail": "has a value that cannot be used"}]
        raise Problem(422, "The request has parameters that are missing or not valid.", errors=found)


def _as_read(sent: Any, valid: Any) -> Any:
    """``sent``, with the numbers and booleans that it was validated as (``12`` for ``"12"``). Everything else as it
    came: the head reads it itself, and what is written of a secret is not the secret."""
    if type(sent) is dict and type(valid) is dict:
        return {name: _as_read(value, valid[name]) if name in valid else value for name, value in sent.items()}
    if type(sent) is list and type(valid) is list and len(sent) == len(valid):
        return [_as_read(one, other) for one, other in zip(sent, valid, strict=True)]
    return valid if type(valid) in (int, float, bool) and type(sent) in (str, int, float, bool) else sent


def _older_parameters(plan: Plan, inputs: RequestInputs, changes: Sequence[Any]) -> dict[str, str | None]:
    """The query parameters of an older version, and what each is called at the head, None when it is no more."""
    names: dict[str, str | None] = {name: name for name in inputs.query_names}
    for change in changes:
        name = getattr(change, "to", change.name)
        if isinstance(change, Removed) is (name in names):
            there = ", ".join(names) or "none"
            raise DeclarationError(f"{plan.name}: {change}, but its query parameters after that are: {there}")
        if isinstance(change, Renamed):
            names[change.name] = names.pop(name)
        elif isinstance(change, Removed):
            names[name] = None
        else:
            del names[name]
    return names
