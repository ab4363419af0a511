"""All versions of an API, on one set of models."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import structlog
from pydantic import BaseModel
from starlette.types import Scope

from ..context import Principal, RequestContext
from ..errors import PROBLEM_JSON, DeclarationError, Problem
from .changes import ErrorsChanged, PageAdded, Renamed
from .members import copied, members_of
from .served import Version
from .step import Lineage, Older, Step
from .usage import VersionUsage
from .walk import chain

__all__ = ["PINNED", "ModelAt", "Versions"]

log = structlog.get_logger("bff.versions")
PINNED: Final = "api_version"
"""The claim of a principal that names the version it is pinned to."""


@dataclass(frozen=True, slots=True)
class ModelAt:
    """A model of the head as it is in a version. ``down`` carries plain JSON data there from the head, ``up`` to the
    head, both by changing it in place, both None when nothing is to be done; ``sources`` says of which of the head's
    members each member is made. ``irreversible`` says why requests cannot be carried up."""

    model: Any
    down: Callable[[Any], Any] | None
    up: Callable[[Any], Any] | None
    sources: Mapping[str, frozenset[str]]
    irreversible: str | None


class Versions:
    """The versions of an API, the newest first; models and pages are those of the newest, the head.

    A request is for the version of its path, else of the header (``header``: a date, or ``v1``), else the one its
    principal is pinned to (claim ``api_version``), else the head. ``usage`` counts who uses what. ``clock`` gives Unix
    time. Raises ``DeclarationError`` for a history that makes no sense.
    """

    def __init__(self, *versions: Version, header: str = "API-Version", clock: Callable[[], float] = time.time) -> None:
        self.all = versions
        self.header = header
        self.usage = VersionUsage(clock=clock)
        self._clock = clock
        self._header = header.lower().encode()
        self._check()
        self.head = versions[0]
        self._by_name = {version.name: version for version in versions}
        self._by_name |= {version.alias: version for version in versions if version.path is not None}
        self._by_wire = {name.encode(): version for name, version in self._by_name.items()}
        vary = (b"vary", header.encode())
        self._headers = {
            version.name: ((self._header, version.name.encode()), vary, *version.headers) for version in versions
        }
        lineage = Lineage()
        self._steps = [
            Step(version.name, [c for c in version.changes if not isinstance(c, (PageAdded, ErrorsChanged))], lineage)
            for version in versions[:-1]
        ]
        self._models: dict[tuple[str, type[BaseModel]], ModelAt] = {}
        self._errors = {version.name: self._errors_of(index) for index, version in enumerate(versions)}
        self._check_changes()

    def __getitem__(self, name: str) -> Version:
        """The version of that date, or short name (``v1``). Raises ``KeyError``."""
        return self._by_name[name]

    def at(self, model: Any, version: str) -> ModelAt:
        """``model`` (the head's, or a type with models in it) as it is in ``version``."""
        name = self[version].name
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return self._compile(model, name, {})
        found = self._models.get((name, model))
        if found is None:
            found = self._models[name, model] = self._compile(
                model, name, {member: frozenset({member}) for member in members_of(model)}
            )
        return found

    def has_page(self, page: type, version: Version) -> bool:
        """Whether the page was there already."""
        newer = self.all[: self.all.index(version)]
        return not any(isinstance(c, PageAdded) and c.target is page for each in newer for c in each.changes)

    def parameters(self, page: type, version: Version) -> list[Any]:
        """The changes of ``page``'s query parameters since ``version``, the newest first."""
        newer = self.all[: self.all.index(version)]
        return [
            change
            for each in newer
            for change in reversed(each.changes)
            if not isinstance(change, (PageAdded, ErrorsChanged)) and change.target is page
        ]

    def pages(self) -> set[type]:
        """The pages that changes name."""
        return {
            change.target
            for version in self.all
            for change in version.changes
            if not isinstance(change, ErrorsChanged) and not issubclass(change.target, BaseModel)
        }

    def error_model(self, version: Version) -> ErrorsChanged | None:
        """What errors are in ``version``, None for problem documents."""
        changes = self._errors[version.name]
        return changes[-1] if changes else None

    def event(self, document: dict[str, Any], model: type[BaseModel], version: str) -> dict[str, Any]:
        """A webhook's body (``type``, ``timestamp``, ``data``: the plain JSON of ``model``) as ``version`` has it."""
        at = self.at(model, version)
        data = document["data"]
        return {
            **document,
            "api_version": self[version].name,
            "data": data if at.down is None else at.down(copied(data)),
        }

    def resolve(self, scope: Scope, context: RequestContext, fixed: Version | None) -> Version:
        """The version that a request is for; from here on its answer says so. ``fixed`` is that of its path.

        Raises a problem that lists what there is: 400 when it is unknown, 410 when it has ended.
        """
        version = self._stated(scope, fixed) or self._pinned(context.principal)
        if version.ends <= self._clock():
            raise self._unserved(410, f"Version {version.name} has ended.")
        context.version = version.name
        self.usage.count(version.name, context.principal)
        context.reply_headers = (*context.reply_headers, *self._headers[version.name], *self._successor(scope, fixed))
        return version

    def problem(self, problem: Problem, scope: Scope, context: RequestContext) -> tuple[bytes, bytes]:
        """The body of an error and its media type, as the version that the request is for has them."""
        name = context.version
        if name is None:
            try:
                version = self._stated(scope, self._of_path(scope["path"])) or self._pinned(context.principal)
            except Problem:
                version = self.head
            name = version.name
            context.reply_headers = (*context.reply_headers, *self._headers[name])
        changes = self._errors[name]
        if not changes:
            return problem.body(context.request_id), PROBLEM_JSON
        document = problem.document(context.request_id)
        try:
            for change in changes:
                document = change.down(document)
        except Exception:  # an error is answered, come what may
            log.exception("versions.error_shape", version=name, request_id=context.request_id)
            return problem.body(context.request_id), PROBLEM_JSON
        return Problem.encode(document), changes[-1].media_type.encode()

    def _stated(self, scope: Scope, fixed: Version | None) -> Version | None:
        given: bytes | None = None
        for name, value in scope["headers"]:
            if name == self._header:
                if given is not None and given != value:
                    raise self._unserved(400, f"There are several headers {self.header}.")
                given = value
        if given is None:
            return fixed
        version = self._by_wire.get(given.strip())
        if version is None:
            raise self._unserved(400, f"There is no version '{given[:40].decode('ascii', 'replace')}'.")
        if fixed is not None and version is not fixed:
            raise self._unserved(400, f"The path is version {fixed.name}, the header {self.header} another.")
        return version

    def _pinned(self, principal: Principal | None) -> Version:
        if principal is None or (name := principal.claims.get(PINNED)) is None:
            return self.head
        version = self._by_name.get(name) if isinstance(name, str) else None
        if version is None:
            raise self._unserved(410, "The version that this client is pinned to is not served any more.")
        return version

    def _of_path(self, path: str) -> Version | None:
        version = self._by_name.get(path[1:].partition("/")[0])
        return version if version is not None and version.path is not None else None

    def _unserved(self, status: int, detail: str) -> Problem:
        now = self._clock()
        there = [version.name for version in self.all if version.ends > now]
        return Problem(status, f"{detail} See 'supported'.", supported=there)

    def _successor(self, scope: Scope, fixed: Version | None) -> tuple[tuple[bytes, bytes], ...]:
        """Where the same is at the head (``successor-version``, RFC 5829), when this is about to end."""
        if fixed is None or fixed is self.head or fixed.deprecated is None:
            return ()
        path = quote(scope["path"].removeprefix(fixed.path), safe="/:@!$&'()*+,;=")
        return ((b"link", f'<{self.head.path or ""}{path}>; rel="successor-version"'.encode()),)

    def _compile(self, model: Any, name: str, sources: dict[str, frozenset[str]]) -> ModelAt:
        steps: list[Older] = []
        now = model
        for version, step in zip(self.all, self._steps, strict=False):
            if version.name == name:
                break
            older = step.type_before(now)
            if older.sources is not None:
                sources = {
                    member: frozenset().union(*(sources[other] for other in others))
                    for member, others in older.sources.items()
                }
            now = older.annotation
            steps.append(older)
        return ModelAt(
            now,
            chain([older.down for older in steps]),
            chain([older.up for older in reversed(steps)]),
            sources,
            next((older.irreversible for older in steps if older.irreversible), None),
        )

    def _errors_of(self, index: int) -> list[ErrorsChanged]:
        newer = self.all[:index]
        return [c for version in newer for c in reversed(version.changes) if isinstance(c, ErrorsChanged)]

    def _check(self) -> None:
        if not self.all:
            raise DeclarationError("Versions needs at least one Version")
        names = [version.name for version in self.all]
        if names != sorted(set(names), reverse=True):
            raise DeclarationError(f"versions must be in order, the newest first, each once; they are: {names}")
        paths = [version.path for version in self.all if version.path is not None]
        if len(paths) != len(set(paths)):
            raise DeclarationError(f"two versions have the same path: {paths}")
        for version in self.all:
            for number, change in enumerate(version.changes):
                if change in version.changes[:number]:
                    raise DeclarationError(f"version {version.name}: the same change twice: {change}")
        if self.all[-1].changes:
            raise DeclarationError(
                f"version {names[-1]} is the oldest, so that nothing is known from which its changes made it"
            )

    def _check_changes(self) -> None:
        """Each change fits its model as it was then."""
        for version in self.all:
            for change in version.changes:
                if isinstance(change, (PageAdded, ErrorsChanged)):
                    continue
                if issubclass(change.target, BaseModel):
                    self.at(change.target, self.all[-1].name)
                elif not isinstance(change, Renamed) and type(change).__name__ not in ("Added", "Removed"):
                    raise DeclarationError(
                        f"version {version.name}: {change.target.__name__} is no model; a page's parameters can be "
                        "Renamed, Added or Removed"
                    )
