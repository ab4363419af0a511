"""What can change from one version to the next: each kind a small class, working on plain JSON objects in place.

All are written in the direction of time (what was, then what is) and work in both: ``to_older`` makes the older form of
what the gateway answers, ``to_newer`` the newer form of what an older client sends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ..errors import DeclarationError
from .annotations import values_of, without_value
from .members import Member, Members, copied

__all__ = [
    "Added",
    "Change",
    "Converted",
    "ErrorsChanged",
    "PageAdded",
    "Removed",
    "Renamed",
    "Replaced",
    "Reversible",
    "ValueAdded",
    "Variant",
    "free",
    "there",
    "where",
]

Document = dict[str, Any]
Variant = Callable[[type[BaseModel], Members], type[BaseModel]]


class Change(Protocol):
    """A change of the members of ``target``: a model, or a page, whose members are its query parameters."""

    @property
    def target(self) -> type:
        """The model or page."""

    def older(self, members: Members, variant: Variant) -> Members:
        """The members before the change. ``variant`` makes a model with other members. Raises ``DeclarationError``."""

    def sources(self) -> Mapping[str, Sequence[str]]:
        """Each older member that is made of something else than the newer one of its name, and of what."""

    def to_older(self, document: Document) -> None:
        """Make the newer object an older one; members may be missing (``?fields=``)."""

    def to_newer(self, document: Document) -> None:
        """Make the older object a newer one."""

    def irreversible(self, members: Members) -> str | None:
        """Why it cannot be undone in a request that has the newer ``members``; None when it can."""


class Reversible:
    """What can always be undone."""

    def irreversible(self, members: Members) -> str | None:  # noqa: ARG002 - most need not look
        return None


@dataclass(frozen=True)
class Renamed(Reversible):
    """The member ``name`` is called ``to``."""

    target: type
    name: str
    to: str = field(kw_only=True)

    def __str__(self) -> str:
        return f"'{self.name}' is called '{self.to}'"

    def older(self, members: Members, variant: Variant) -> Members:  # noqa: ARG002 - the protocol's
        there(self, members, self.to)
        free(self, members, self.name)
        return {self.name if name == self.to else name: member for name, member in members.items()}

    def sources(self) -> Mapping[str, Sequence[str]]:
        return {self.name: (self.to,)}

    def to_older(self, document: Document) -> None:
        if self.to in document:
            document[self.name] = document.pop(self.to)

    def to_newer(self, document: Document) -> None:
        if self.name in document:
            document[self.to] = document.pop(self.name)


@dataclass(frozen=True)
class Added(Reversible):
    """The member ``name`` is new: older clients do not see it, and in what they send it has its ``default``, if one is
    given; a required one needs it."""

    target: type
    name: str
    default: Any = field(default=..., kw_only=True)

    def __str__(self) -> str:
        return f"'{self.name}' is new" + ("" if self.default is ... else f" (older requests: {self.default!r})")

    def irreversible(self, members: Members) -> str | None:
        if self.default is ... and members[self.name].required:
            return f"'{self.name}' is required, so that older requests need a default: Added(…, default=…)"
        return None

    def older(self, members: Members, variant: Variant) -> Members:  # noqa: ARG002 - the protocol's
        there(self, members, self.name)
        return {name: member for name, member in members.items() if name != self.name}

    def sources(self) -> Mapping[str, Sequence[str]]:
        return {}

    def to_older(self, document: Document) -> None:
        document.pop(self.name, None)

    def to_newer(self, document: Document) -> None:
        if self.default is not ...:
            document[self.name] = copied(self.default)


@dataclass(frozen=True)
class Removed(Reversible):
    """The member ``name``, of type ``was``, is no more. Older clients go on getting ``value``, or what ``down`` makes
    of the members that it ``reads``; what they send of it is dropped. Of a page's parameter nothing but the name
    counts."""

    target: type
    name: str
    was: Any = Any
    value: Any = field(default=None, kw_only=True)
    reads: Sequence[str] = field(default=(), kw_only=True)
    down: Callable[..., Any] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if bool(self.reads) != (self.down is not None):
            raise DeclarationError(f"{where(self)} '{self.name}': reads= and down= belong together")

    def __str__(self) -> str:
        return f"'{self.name}' is no more"

    def older(self, members: Members, variant: Variant) -> Members:  # noqa: ARG002 - the protocol's
        free(self, members, self.name)
        there(self, members, *self.reads)
        # Required of nobody: no newer version wants it.
        return {**members, self.name: Member(self.was, FieldInfo(default=self.value), carried=False)}

    def sources(self) -> Mapping[str, Sequence[str]]:
        return {self.name: tuple(self.reads)}

    def to_older(self, document: Document) -> None:
        if self.down is None:
            document[self.name] = copied(self.value)
        elif all(name in document for name in self.reads):
            document[self.name] = self.down(*[document[name] for name in self.reads])

    def to_newer(self, document: Document) -> None:
        document.pop(self.name, None)


@dataclass(frozen=True)
class Replaced:
    """The members ``older`` (with their types) are the members ``newer`` now: split, merged, or otherwise cut.

    ``down`` takes the newer values in their order and gives the older ones, ``up`` the other way round: a value when
    it is one, a sequence when there are several. ``up`` is needed where clients send it.
    """

    target: type
    was: Mapping[str, Any]
    by: Sequence[str] = field(kw_only=True)
    down: Callable[..., Any] = field(kw_only=True)
    up: Callable[..., Any] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.by, str) or not self.by or not self.was:
            raise DeclarationError(f"{where(self)}: Replaced needs older members and a list of newer ones")

    def __str__(self) -> str:
        return f"{_quoted(self.was)} {'is' if len(self.was) == 1 else 'are'} replaced by {_quoted(self.by)}"

    def irreversible(self, members: Members) -> str | None:  # noqa: ARG002 - the protocol's
        return f"{self}, and requests need up= for that" if self.up is None else None

    def older(self, members: Members, variant: Variant) -> Members:  # noqa: ARG002 - the protocol's
        there(self, members, *self.by)
        free(self, {name: member for name, member in members.items() if name not in self.by}, *self.was)
        required = any(members[name].required for name in self.by)
        info = None if required else FieldInfo(default=None)
        found: Members = {}
        for name, member in members.items():
            if name == self.by[0]:
                found |= {old: Member(was, info, carried=False) for old, was in self.was.items()}
            elif name not in self.by:
                found[name] = member
        return found

    def sources(self) -> Mapping[str, Sequence[str]]:
        return dict.fromkeys(self.was, self.by)

    def to_older(self, document: Document) -> None:
        _replace(document, self.by, tuple(self.was), self.down)

    def to_newer(self, document: Document) -> None:
        if self.up is not None:
            _replace(document, tuple(self.was), self.by, self.up)


@dataclass(frozen=True)
class Converted:
    """The member ``name``, of type ``was``, is another kind of value now: of another unit or type. null stays null."""

    target: type
    name: str
    was: Any
    down: Callable[[Any], Any] = field(kw_only=True)
    up: Callable[[Any], Any] | None = field(default=None, kw_only=True)

    def __str__(self) -> str:
        return f"'{self.name}' has another form (it was {getattr(self.was, '__name__', self.was)})"

    def irreversible(self, members: Members) -> str | None:  # noqa: ARG002 - the protocol's
        return f"{self}, and requests need up= for that" if self.up is None else None

    def older(self, members: Members, variant: Variant) -> Members:  # noqa: ARG002 - the protocol's
        there(self, members, self.name)
        info = None if members[self.name].required else FieldInfo(default=None)
        return {**members, self.name: Member(self.was, info, carried=False)}

    def sources(self) -> Mapping[str, Sequence[str]]:
        return {}

    def to_older(self, document: Document) -> None:
        value = document.get(self.name)
        if value is not None:
            document[self.name] = self.down(value)

    def to_newer(self, document: Document) -> None:
        value = document.get(self.name)
        if value is not None and self.up is not None:
            document[self.name] = self.up(value)


@dataclass(frozen=True)
class ValueAdded(Reversible):
    """The member ``name`` (a ``Literal`` or an ``Enum``, or a list of them) can have one more ``value``; older clients
    are shown ``instead``."""

    target: type
    name: str
    value: Any
    instead: Any = field(kw_only=True)

    def __str__(self) -> str:
        return f"'{self.name}' can be {self.value!r} (older answers say {self.instead!r})"

    def older(self, members: Members, variant: Variant) -> Members:  # noqa: ARG002 - the protocol's
        there(self, members, self.name)
        member = members[self.name]
        values = values_of(member.annotation)
        for value in (self.value, self.instead):
            if value not in values:
                raise DeclarationError(f"{where(self)} '{self.name}': {value!r} is none of its values: {values}")
        if self.value == self.instead:
            raise DeclarationError(f"{where(self)} '{self.name}': instead={self.instead!r} is the new value itself")
        return {**members, self.name: replace(member, annotation=without_value(member.annotation, self.value))}

    def sources(self) -> Mapping[str, Sequence[str]]:
        return {}

    def to_older(self, document: Document) -> None:
        found = document.get(self.name)
        if found == self.value:
            document[self.name] = self.instead
        elif type(found) is list and self.value in found:
            document[self.name] = [self.instead if value == self.value else value for value in found]

    def to_newer(self, document: Document) -> None:
        """What was a value before is one still."""


@dataclass(frozen=True)
class PageAdded:
    """The page ``target`` is new: in older versions it is not there."""

    target: type

    def __str__(self) -> str:
        return "is new"


@dataclass(frozen=True)
class ErrorsChanged:
    """Errors have another shape. ``down`` makes the older document of the newer one (a problem document, RFC 9457, at
    the head); ``model`` describes it, ``media_type`` is what it is sent as."""

    down: Callable[[Document], Document]
    model: type[BaseModel]
    media_type: str = "application/json"

    def __str__(self) -> str:
        return f"errors have another shape (they were {self.media_type}: {self.model.__name__})"


def where(change: Any) -> str:
    """The change's kind and target, for messages."""
    return f"{type(change).__name__} in {change.target.__name__}"


def _quoted(names: Any) -> str:
    return " and ".join(f"'{name}'" for name in names)


def there(change: Any, members: Members, *names: str) -> None:
    """Raise ``DeclarationError`` unless all ``names`` are members."""
    for name in names:
        if name not in members:
            raise DeclarationError(
                f"{where(change)}: there is no '{name}' after the change; there is: {', '.join(members) or 'nothing'}"
            )


def free(change: Any, members: Members, *names: str) -> None:
    """Raise ``DeclarationError`` if one of ``names`` is a member."""
    for name in names:
        if name in members:
            raise DeclarationError(f"{where(change)}: '{name}' is there after the change, so it cannot come back")


def _replace(document: Document, source: Sequence[str], target: Sequence[str], function: Callable[..., Any]) -> None:
    try:
        given = [document[name] for name in source]
    except KeyError:
        return
    made = function(*given)
    for name in source:
        del document[name]
    if len(target) == 1:
        document[target[0]] = made
    else:
        document.update(zip(target, made, strict=True))
