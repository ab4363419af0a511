"""Flags, evaluated: pure functions of what is declared, the app, and who uses it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from ..context import Principal
from .definitions import Definitions, Flag, Rule
from .version import ClientApp

__all__ = ["Evaluated", "Subject", "bucket", "evaluate", "evaluate_all"]

Reason = Literal["STATIC", "TARGETING_MATCH", "SPLIT", "DEFAULT"]
WHOLE = 100.0


class Subject(NamedTuple):
    """For whom flags are evaluated. ``key`` decides shares of users: the principal's own, or what an app without one
    calls itself; None is in no share."""

    app: ClientApp | None
    principal: Principal | None
    key: str | None


class Evaluated(NamedTuple):
    """A flag's value, and why; the only variant of configuration is ``config``, for there are clients that fail
    without one."""

    value: Any
    variant: str
    reason: Reason


def evaluate_all(definitions: Definitions, subject: Subject) -> dict[str, Evaluated]:
    """Configuration and flags by key, in the order of the file."""
    found = {key: Evaluated(value, "config", "STATIC") for key, value in definitions.config.items()}
    return found | {key: evaluate(key, flag, subject) for key, flag in definitions.flags.items()}


def evaluate(key: str, flag: Flag, subject: Subject) -> Evaluated:
    """One flag."""
    for rule in flag.rules:
        if _applies(rule, key, subject):
            reason: Reason = "TARGETING_MATCH" if rule.percent >= WHOLE else "SPLIT"
            return Evaluated(flag.variants[rule.variant], rule.variant, reason)
    return Evaluated(flag.variants[flag.default], flag.default, "DEFAULT" if flag.rules else "STATIC")


def bucket(flag: str, key: str) -> float:
    """Where ``key`` stands among all users of a flag: a number from 0 to below 100, the same everywhere and always,
    and of one flag unrelated to that of another."""
    digest = hashlib.sha256(f"{flag}\0{key}".encode(errors="surrogatepass")).digest()
    # 53 bits: all that a float holds, so that nobody is rounded up to 100.
    return (int.from_bytes(digest[:8], "big") >> 11) * WHOLE / 2**53


def _applies(rule: Rule, flag: str, subject: Subject) -> bool:
    app = subject.app
    if rule.platforms and (app is None or app.platform not in rule.platforms):
        return False
    if not rule.covers(None if app is None else app.version):
        return False
    for name, values in rule.attributes.items():
        if not any(_same(found, value) for found in _attribute(subject.principal, name) for value in values):
            return False
    if rule.percent >= WHOLE:
        return True
    return subject.key is not None and bucket(flag, subject.key) < rule.percent


def _attribute(principal: Principal | None, name: str) -> Iterable[Any]:
    """The values that the principal has of an attribute."""
    if principal is None:
        return ()
    if name == "scopes":
        return principal.scopes
    if name in ("subject", "tenant", "kind"):
        return (getattr(principal, name),)
    found = principal.claims.get(name)
    return found if isinstance(found, (list, tuple, set, frozenset)) else (found,)


def _same(found: Any, value: Any) -> bool:
    # True is no 1 here, though Python says so.
    return found == value and isinstance(found, bool) == isinstance(value, bool)
