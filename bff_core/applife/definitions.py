"""What a file declares for apps: the version gate, the configuration and the feature flags. Checked when it is read."""

from __future__ import annotations

import json
import tomllib
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from .version import PLATFORM, Order, parse_version

__all__ = ["Definitions", "Flag", "PlatformGate", "Rule", "read_definitions"]


def _check_version(text: str) -> str:
    if parse_version(text) is None:
        raise ValueError(f"'{text}' is no version; 3.4.1 or 3.4.1-beta.2 is")
    return text


def _check_finite(value: JsonValue) -> JsonValue:
    json.dumps(value, allow_nan=False)  # TOML has inf and nan, JSON has not
    return value


VersionText = Annotated[str, AfterValidator(_check_version)]
Platform = Annotated[str, StringConstraints(pattern=rf"^{PLATFORM}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
Value = Annotated[JsonValue, AfterValidator(_check_finite)]
Bounds = tuple[Order | None, Order | None]
Scalar = StrictStr | StrictBool | StrictInt | StrictFloat


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlatformGate(_Declared):
    """One platform's gate: versions below ``minimum`` are refused, those below ``latest`` are told that there is an
    update; ``store`` is where it is."""

    minimum: VersionText | None = None
    latest: VersionText | None = None
    store: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+.-]*://[!-~]+$")]

    @cached_property
    def bounds(self) -> Bounds:
        """``minimum`` and ``latest``, parsed."""
        return _parsed(self.minimum), _parsed(self.latest)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        minimum, latest = self.bounds
        if minimum is not None and latest is not None and minimum > latest:
            raise ValueError(f"minimum {self.minimum} is above latest {self.latest}, so no update would do")
        return self

    def asks(self, version: Order) -> Literal["none", "available", "required"]:
        """Which update an app of this version needs."""
        minimum, latest = self.bounds
        if minimum is not None and version < minimum:
            return "required"
        return "available" if latest is not None and version < latest else "none"


class Rule(_Declared):
    """For whom a flag has ``variant``: apps of these ``platforms`` (none: all) from ``from_version`` to before
    ``below_version``; principals who have each of the ``attributes`` (``subject``, ``tenant``, ``kind``, ``scopes``, or
    a claim) with one of the values; of those ``percent`` percent, always the same."""

    variant: str
    platforms: frozenset[Platform] = frozenset()
    from_version: VersionText | None = None
    below_version: VersionText | None = None
    attributes: dict[str, Annotated[list[Scalar], Field(min_length=1)]] = {}
    percent: Annotated[float, Field(ge=0, le=100)] = 100.0

    @cached_property
    def bounds(self) -> Bounds:
        """``from_version`` and ``below_version``, parsed."""
        return _parsed(self.from_version), _parsed(self.below_version)

    def covers(self, version: Order | None) -> bool:
        """Whether it is for apps of this version; of one that is not known, when the version does not count."""
        lowest, end = self.bounds
        if version is None:
            return lowest is None and end is None
        return (lowest is None or version >= lowest) and (end is None or version < end)


class Flag(_Declared):
    """A flag: its ``variants`` are values of one JSON type; the first of the ``rules`` that applies says which one,
    else it is the ``default``."""

    variants: Annotated[dict[Key, Value], Field(min_length=1)]
    default: str
    rules: list[Rule] = []

    @model_validator(mode="after")
    def _check_variants(self) -> Self:
        for name in (self.default, *(rule.variant for rule in self.rules)):
            if name not in self.variants:
                raise ValueError(f"there is no variant '{name}'; there is: {', '.join(self.variants)}")
        kinds = {_kind(value) for value in self.variants.values()}
        if len(kinds) > 1 or "null" in kinds:
            raise ValueError(f"variants are values of one type, not {' and '.join(sorted(kinds))}")
        return self


class Definitions(_Declared):
    """All that is declared: gates by platform, values that every app gets, flags by key."""

    gate: dict[Platform, PlatformGate] = {}
    config: dict[Key, Value] = {}
    flags: dict[Key, Flag] = {}

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if double := sorted(self.config.keys() & self.flags.keys()):
            raise ValueError(f"'{double[0]}' is both configuration and a flag")
        return self


def read_definitions(raw: bytes, *, toml: bool) -> Definitions:
    """The definitions in a file's content, TOML or JSON. Raises ``ValueError`` that says what is wrong."""
    try:
        text = raw.decode()
        found: Any = tomllib.loads(text) if toml else json.loads(text)
        return Definitions.model_validate(found)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in entry['loc']) or 'the file'}: {entry['msg']}"
            for entry in error.errors(include_url=False, include_input=False)
        ]
        raise ValueError("\n".join(lines)) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"  {error}") from None


def _parsed(version: str | None) -> Order | None:
    return None if version is None else parse_version(version)


def _kind(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "null" if value is None else "object"
