"""Policies in layers: defaults, gateway, service, operation; each says what it changes, the last word wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ..errors import SettingsError
from ..policy import Policy

__all__ = ["Layer", "Resolved", "resolve"]

Layer = tuple[str, Policy | None]
"""Where it comes from, and what it says; None for nothing."""

PER_OPERATION = {"timeout", "retry.attempts", "retry.base", "retry.cap", "hedge.enabled", "hedge.delay", "cache"}


@dataclass(frozen=True, slots=True)
class Resolved:
    """The policy in force, and for each value (``retry.attempts``) which layer it comes from."""

    policy: Policy
    sources: Mapping[str, str]


def resolve(name: str, layers: Sequence[Layer], *, operation: Sequence[Layer] = ()) -> Resolved:
    """Merge ``layers``, the weakest first, then those of one operation, which may change only what is a single call's.

    Raises ``SettingsError`` naming ``name`` when the outcome makes no sense.
    """
    merged: dict[str, Any] = {}
    sources = dict.fromkeys(_leaves(Policy().model_dump()), "default")
    for source, policy in [*layers, *operation]:
        changes = policy.model_dump(exclude_unset=True) if policy is not None else {}
        _merge(merged, changes)
        sources |= dict.fromkeys(_leaves(changes), source)
    for source, policy in operation:
        said = _leaves(policy.model_dump(exclude_unset=True)) if policy is not None else {}
        if foreign := sorted(set(said) - PER_OPERATION):
            raise SettingsError(
                f"{name}: {source} sets {foreign[0]}, which is the whole service's; an operation may set "
                + ", ".join(sorted(PER_OPERATION))
            )
    try:
        return Resolved(Policy.model_validate(merged), sources)
    except ValidationError as error:
        raise SettingsError(f"{name}: {error.errors()[0]['msg']}") from None


def _merge(target: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def leaves(policy: Policy) -> dict[str, Any]:
    """Every value of a policy by its path, such as ``retry.attempts``."""
    return _leaves(policy.model_dump())
