"""Limits as a gateway declares them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

from ..errors import DeclarationError
from .answers import policy_item
from .calendar import SPANS, Period
from .keys import KeySpec, reader
from .rules import SECOND, CalendarQuota, Concurrency, Gcra, Rule

__all__ = ["AnyLimit", "ConcurrencyLimit", "OnStoreFailure", "Quota", "RateLimit", "Rated"]

OnStoreFailure = Literal["allow", "deny"]
Rated = tuple[Rule, bytes]
"""A rule, and how ``RateLimit-Policy`` says it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RATE = re.compile(r"([0-9]{1,12})/(second|minute|hour|day|week)")
LONGEST = 366 * 86400


@dataclass(frozen=True)
class RateLimit:
    """So many calls per time, evenly, and ``burst`` of them at once (default: as many as the rate names).

    ``rate`` is ``"100/minute"`` (second, minute, hour, day, week). ``key`` says whose calls are counted together:
    ``principal``, ``tenant``, ``api_key``, ``client_ip`` (of IPv6 the /64), ``client_address`` (all of it), ``route``,
    a function of the ``Request`` that gives text, or None where the limit is not for that request; or a tuple of
    them; ``()`` counts all calls together. ``plans`` has other values by the principal's claim ``plan``: a rate, a rate
    and its burst, or None for no limit. Limits of one name are one limit wherever they are declared.

    When the shared store is down, ``on_store_failure`` has this process count alone (``allow``) or answers 503
    (``deny``). Raises ``DeclarationError``.
    """

    name: str
    rate: str
    key: KeySpec = field(kw_only=True)
    burst: int | None = field(default=None, kw_only=True)
    plans: Mapping[str, str | tuple[str, int] | None] = field(default_factory=dict, kw_only=True)
    on_store_failure: OnStoreFailure = field(default="allow", kw_only=True)

    def __post_init__(self) -> None:
        _check(self)

    def value(self, value: str | tuple[str, int] | None, lease: int) -> Rated | None:  # noqa: ARG002 - of its siblings
        """The rule for the value of a plan."""
        if value is None:
            return None
        rate, burst = (value, self.burst) if isinstance(value, str) else value
        match = _RATE.fullmatch(rate)
        if match is None or int(match[1]) < 1:
            raise DeclarationError(f"limit '{self.name}': {rate!r} is no rate; one is '100/minute'")
        count, period = int(match[1]), SPANS[match[2]]
        burst = count if burst is None else burst
        if burst < 1 or burst * period > LONGEST * count:
            raise DeclarationError(f"limit '{self.name}': a burst of {burst} does not fit {rate}")
        return Gcra(count, period * SECOND, burst), policy_item(self.name, count, window=period)

    @property
    def default(self) -> str:
        """The value for whoever has no plan that is named."""
        return self.rate


@dataclass(frozen=True)
class Quota:
    """``limit`` calls in each calendar ``per`` (second, minute, hour, day, week from Monday, month) of a time ``zone``.

    ``key``, ``plans`` (a number or None) and ``on_store_failure`` are those of ``RateLimit``.
    """

    name: str
    limit: int
    per: Period = field(kw_only=True)
    key: KeySpec = field(kw_only=True)
    zone: str = field(default="UTC", kw_only=True)
    plans: Mapping[str, int | None] = field(default_factory=dict, kw_only=True)
    on_store_failure: OnStoreFailure = field(default="allow", kw_only=True)

    def __post_init__(self) -> None:
        if self.per not in SPANS:
            raise DeclarationError(f"limit '{self.name}': a quota is per {', '.join(SPANS)}, not per {self.per!r}")
        _check(self)

    def value(self, value: int | None, lease: int) -> Rated | None:  # noqa: ARG002 - of its siblings
        """The rule for the value of a plan."""
        if value is None:
            return None
        _check_count(self.name, value)
        rule = CalendarQuota(value, self.per, _zone(self.name, self.zone), self.zone)
        return rule, policy_item(self.name, value, window=SPANS[self.per])

    @property
    def default(self) -> int:
        """The value for whoever has no plan that is named."""
        return self.limit


@dataclass(frozen=True)
class ConcurrencyLimit:
    """``limit`` calls at the same time. ``key``, ``plans`` (a number or None) and ``on_store_failure`` are those of
    ``RateLimit``."""

    name: str
    limit: int
    key: KeySpec = field(kw_only=True)
    plans: Mapping[str, int | None] = field(default_factory=dict, kw_only=True)
    on_store_failure: OnStoreFailure = field(default="allow", kw_only=True)

    def __post_init__(self) -> None:
        _check(self)

    def value(self, value: int | None, lease: int) -> Rated | None:
        """The rule for the value of a plan; ``lease`` is the longest a call can take, in microseconds."""
        if value is None:
            return None
        _check_count(self.name, value)
        return Concurrency(value, lease), policy_item(self.name, value, unit="concurrent-requests")

    @property
    def default(self) -> int:
        """The value for whoever has no plan that is named."""
        return self.limit


AnyLimit = RateLimit | Quota | ConcurrencyLimit


def _check(limit: AnyLimit) -> None:
    if _NAME.fullmatch(limit.name) is None:
        raise DeclarationError(
            f"a limit's name is made of letters, digits, '.', '_' and '-', at most 64; not {limit.name!r}"
        )
    if limit.on_store_failure not in ("allow", "deny"):
        raise DeclarationError(f"limit '{limit.name}': on_store_failure is 'allow' or 'deny'")
    reader(limit.key, limit.name, "")
    for value in (limit.default, *limit.plans.values()):
        limit.value(value, SECOND)


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise DeclarationError(f"limit '{name}': {value!r} is no number of calls; the least is 1")


def _zone(name: str, zone: str) -> tzinfo:
    if zone == "UTC":
        return UTC  # without the time zone database, which not every machine has
    try:
        return ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise DeclarationError(
            f"limit '{name}': there is no time zone {zone!r}; if it is a right one, this machine has no time zone "
            "database: pip install tzdata"
        ) from None
