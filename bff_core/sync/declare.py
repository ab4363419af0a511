"""How collections and mutations are declared: over operations of service clients, like the sections of a page."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, create_model

from ..clients import Operation
from ..context import Principal
from ..errors import BadResponse, DeclarationError
from .content import key_of, version_of
from .view import Row

__all__ = ["Binding", "Collection", "Mutation", "Projection", "mutation"]

CURSOR = "cursor"
IDEMPOTENCY_KEY = "idempotency-key"
MOST_PROJECTIONS = 64


class Binding:
    """Fills the arguments of an operation: from constants, from functions of the principal and of the client's own
    arguments, and from what the framework gives (``given``, by parameter name)."""

    def __init__(
        self, where: str, operation: Operation[..., Any], bind: Mapping[str, Any], given: Sequence[str]
    ) -> None:
        self.operation = operation
        self._where = where
        names = {parameter.name for parameter in operation.parameters}
        if unknown := sorted(set(bind) - names):
            raise DeclarationError(f"{where}: {operation.label} has no parameter '{unknown[0]}'")
        self._bind = bind
        self._needs = {
            name: list(inspect.signature(value).parameters) for name, value in bind.items() if callable(value)
        }
        self._free = [p for p in operation.parameters if p.name not in bind and p.name not in given]
        self.arguments: dict[str, Any] = {}
        for parameter in self._free:
            default = ... if parameter.required else parameter.default
            self.arguments[parameter.name] = (parameter.annotation, default)
        for name, needs in self._needs.items():
            self._take(name, bind[name], needs)

    def _take(self, name: str, function: Callable[..., Any], needs: Sequence[str]) -> None:
        hints = get_type_hints(function, include_extras=True) if inspect.isfunction(function) else {}
        for need in needs:
            if need == "principal":
                continue
            if need not in hints:
                raise DeclarationError(
                    f"{self._where}: the function for '{name}' takes '{need}' from the client; say of which type, so "
                    "that it can be checked (only 'principal' needs no annotation)"
                )
            self.arguments[need] = (hints[need], ...)

    def values(self, principal: Principal, arguments: Mapping[str, Any], given: Mapping[str, Any]) -> list[Any]:
        """The values of a call, in the order of the operation's parameters."""
        values = []
        for parameter in self.operation.parameters:
            name = parameter.name
            if name in given:
                values.append(given[name])
            elif name in self._needs:
                needs = self._needs[name]
                values.append(self._bind[name](*[principal if n == "principal" else arguments[n] for n in needs]))
            elif name in self._bind:
                values.append(self._bind[name])
            else:
                values.append(arguments.get(name, None if parameter.required else parameter.default))
        return values


class Projection:
    """From an item of a listing to the bytes a client gets, with or without some of its ``fields``."""

    def __init__(
        self,
        model: type[BaseModel],
        project: Callable[[Any], Any],
        key: str,
        fields: frozenset[str],
        *,
        sorts: bool,
        basis: str,
    ) -> None:
        self._project = project
        self._key = key
        self._fields = set(fields) if fields else None
        self._serialize = model.__pydantic_serializer__.to_json
        self._alien = key != "id"
        self._sorts = sorts
        self.fingerprint = _digest(basis, *sorted(fields))

    def row(self, item: Any) -> Row:
        """The row of one item; raises ``BadResponse`` when its key cannot name it."""
        projected = self._project(item)
        key = getattr(projected, self._key)
        if not isinstance(key, (str, int)) or not str(key) or not str(key).isprintable():
            raise BadResponse(f"an item's '{self._key}' is no usable key")
        name = str(key)
        content: bytes = self._serialize(projected, include=self._fields, by_alias=True)
        if self._alien:
            content = b'{"id":' + json.dumps(name).encode() + (b"," if len(content) > len(b"{}") else b"") + content[1:]
        if self._sorts:
            content = json.dumps(
                json.loads(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False
            ).encode()
        return Row(name, key_of(name), version_of(content), content)


class Collection:
    """A collection that clients keep a copy of: the items of a listing, projected.

    ``listing`` is an operation that answers a list, or a model with the list in ``items``; when it has a parameter
    ``cursor``, its model has ``next``, the cursor of the following answer. ``model`` is what a client gets of an item,
    made by ``project`` (default: the model's own validation); ``key`` is its field with the item's id, which the client
    gets as ``id``. ``bind`` gives the other parameters, as in a page; a function may take ``principal``.

    ``lookup`` is an operation for one item by its id, asked when a mutation says ``if_version``; without one the
    listing is. When a listing is suddenly empty, or more than ten items and a tenth of it are missing, clients keep
    what they have until that is still so ``confirm_after`` seconds later. Change ``revision`` when ``project`` gives
    something else for the same item and the module it is defined in does not show it.

    Raises ``DeclarationError`` when the parts do not fit.
    """

    def __init__(
        self,
        name: str,
        listing: Operation[..., Any],
        model: type[BaseModel],
        *,
        project: Callable[[Any], Any] | None = None,
        key: str = "id",
        items: str = "items",
        lookup: Operation[..., Any] | None = None,
        confirm_after: float = 60.0,
        revision: int = 1,
        **bind: Any,
    ) -> None:
        self.name = name
        self.listing = listing
        self.model = model
        self.lookup = lookup
        self.confirm_after = confirm_after
        self._project = project or (lambda item: model.model_validate(item, from_attributes=True))
        self._key = key
        self._items = items
        self.paged = any(parameter.name == CURSOR for parameter in listing.parameters) and CURSOR not in bind
        self._check(key)
        self.binding = Binding(f"collection '{name}'", listing, bind, [CURSOR] if self.paged else [])
        if needed := [n for n, (_, default) in self.binding.arguments.items() if default is ...]:
            raise self._error(f"{listing.label} needs '{needed[0]}'; bind it: {needed[0]}=…")
        self.lookup_binding = self._bind_lookup(lookup, bind) if lookup is not None else None
        schema = json.dumps(model.model_json_schema(mode="serialization"), sort_keys=True)
        if '"uniqueItems"' in schema:
            raise self._error(f"{model.__name__} has a set, whose order is another each time: make it a list, sorted")
        # Members of free objects have no order of their own: they get one, or the same item had many versions.
        self._sorts = '"additionalProperties"' in schema
        constants = repr([(name, value) for name, value in sorted(bind.items()) if not callable(value)])
        source = _source(self._project)
        self._basis = _digest(schema, source, listing.label, listing.path, constants, str(revision))
        self._projections: dict[frozenset[str], Projection] = {}

    def _error(self, detail: str) -> DeclarationError:
        return DeclarationError(f"collection '{self.name}': {detail}")

    def _check(self, key: str) -> None:
        if self.listing.method != "GET":
            raise self._error(f"{self.listing.label} is a {self.listing.method}; a listing is a GET")
        if key not in self.model.model_fields:
            raise self._error(f"{self.model.__name__} has no '{key}'; say which of its fields is the key: key=…")
        names = {field.alias or name for name, field in self.model.model_fields.items()}
        if "_v" in names or (key != "id" and "id" in names):
            raise self._error(
                f"{self.model.__name__} has a field that a client would take for the item's id or version"
            )
        if get_origin(self.listing.returns) is list:
            if self.paged:
                raise self._error(f"{self.listing.label} has a cursor, but its answer does not say the next one")
            return
        fields = getattr(self.listing.returns, "model_fields", {})
        if self._items not in fields:
            raise self._error(
                f"{self.listing.label} answers no list, and nothing with '{self._items}'; say where: items=…"
            )
        if self.paged and "next" not in fields:
            raise self._error(f"{self.listing.label} has a cursor, but its answer has no 'next'")

    def _bind_lookup(self, lookup: Operation[..., Any], bind: Mapping[str, Any]) -> Binding:
        names = {parameter.name for parameter in lookup.parameters}
        binding = Binding(f"lookup of '{self.name}'", lookup, {n: v for n, v in bind.items() if n in names}, [])
        required = [name for name, (_, default) in binding.arguments.items() if default is ...]
        if len(required) != 1:
            raise self._error(
                f"{lookup.label} must need one thing more than what is bound, the id; it needs {required}"
            )
        self.lookup_parameter = required[0]
        return binding

    def projection(self, fields: frozenset[str] = frozenset()) -> Projection:
        """How items look with these fields only (all for none); the key is always among them."""
        known = fields.intersection(self.model.model_fields)
        wanted = known | {self._key} if known else frozenset()
        if wanted not in self._projections:
            if len(self._projections) >= MOST_PROJECTIONS:
                self._projections.clear()
            self._projections[wanted] = Projection(
                self.model, self._project, self._key, wanted, sorts=self._sorts, basis=self._basis
            )
        return self._projections[wanted]

    def split(self, value: Any) -> tuple[Sequence[Any], str | None]:
        """The items of an answer, and the next cursor."""
        if isinstance(value, list):
            return value, None
        return getattr(value, self._items), (getattr(value, "next") or None) if self.paged else None  # noqa: B009


class Mutation:
    """A write that clients may do while they are offline: see ``mutation``."""

    def __init__(
        self,
        name: str,
        operation: Operation[..., Any],
        touches: Sequence[str],
        item: str | None,
        bind: Mapping[str, Any],
    ) -> None:
        self.name = name
        self.operation = operation
        self.touches = tuple(touches)
        self.item = item
        self.key_parameter = next(
            (p.name for p in operation.parameters if p.kind == "header" and p.wire_name.lower() == IDEMPOTENCY_KEY),
            None,
        )
        self.resendable = operation.idempotent or self.key_parameter is not None
        given = [self.key_parameter] if self.key_parameter is not None else []
        self.binding = Binding(f"mutation '{name}'", operation, bind, given)
        if operation.method == "GET":
            raise DeclarationError(f"mutation '{name}': {operation.label} is a GET, which changes nothing")
        if item is not None and item not in self.binding.arguments:
            raise DeclarationError(f"mutation '{name}': takes no argument '{item}' that could name an item")
        if item is not None and not touches:
            raise DeclarationError(f"mutation '{name}': of which collection is '{item}' an item? touches=[…]")
        arguments: dict[str, Any] = self.binding.arguments
        self.model: type[BaseModel] = create_model(
            f"{name.title().replace('.', '')}Arguments", __config__=ConfigDict(extra="forbid"), **arguments
        )
        self._adapter = TypeAdapter(self.model)

    def parse(self, arguments: Any) -> dict[str, Any]:
        """The client's arguments, validated; raises pydantic's ``ValidationError``."""
        parsed = self._adapter.validate_json(json.dumps(arguments))
        return {name: getattr(parsed, name) for name in self.binding.arguments}


def mutation(
    name: str,
    operation: Operation[..., Any],
    *,
    touches: Sequence[str | Collection] = (),
    item: str | None = None,
    **bind: Any,
) -> Mutation:
    """A write that clients may do while they are offline: ``operation`` under the ``name`` they know.

    ``touches`` are the collections it changes: clients are not told that it is visible before these are. ``item`` is
    the argument that names an item of the first of them; a client may then say which version of it it has seen
    (``if_version``). ``bind`` gives parameters as in a page; a function may take ``principal``, and arguments of the
    client, of the types it says. The client gives the rest. When the operation has a header ``Idempotency-Key``, the
    framework fills it.

    Raises ``DeclarationError`` when the parts do not fit.
    """
    names = [touched.name if isinstance(touched, Collection) else touched for touched in touches]
    return Mutation(name, operation, names, item, bind)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _source(function: Callable[..., Any]) -> str:
    """The text of the module where a function is: what may change when it gives something else."""
    module = sys.modules.get(getattr(function, "__module__", ""))
    try:
        return inspect.getsource(module) if module is not None else ""
    except (OSError, TypeError):
        return ""
