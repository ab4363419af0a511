"""Tokens whose tenant has booked a plan in the keys' database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.types import Scope

from bff_core import Authorizer, AuthorizerRequest, Principal, StoredKeys, StoredPlans

from .issuer import scope_of


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def by_name(request: AuthorizerRequest) -> Principal | None:
    subject, _, tenant = request.headers["authorization"].partition("@")
    return Principal(subject, tenant=tenant or None, claims={"plan": "silver", "email": "a@b"})


@pytest.fixture
async def keys(tmp_path: Path) -> AsyncIterator[StoredKeys]:
    made = StoredKeys(f"sqlite:///{tmp_path}/keys.db", pepper=SecretStr("p" * 32))
    yield made
    await made.aclose()


def asks(subject: str) -> Scope:
    return scope_of(("authorization", subject))


async def test_a_token_has_its_tenants_plan(keys: StoredKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Booked once for all its keys and tokens; known for five seconds, and as it was last while nobody can tell."""
    clock = Clock()
    auth = StoredPlans(Authorizer(by_name), keys, monotonic=clock)

    async def claims(subject: str = "ann@acme") -> dict[str, object]:
        principal = await auth.authenticate(asks(subject))
        assert principal is not None
        return dict(principal.claims)

    assert await claims() == {"plan": "silver", "email": "a@b"}
    await keys.store.plans.put("acme", "gold", {"month": 7})
    assert (await claims())["plan"] == "silver"
    clock.now += keys.ttl
    gold = {"plan": "gold", "plan_limits": '{"month": 7}', "email": "a@b"}
    assert await claims() == gold
    assert await claims("ann@bolt") == await claims("ann") == {"plan": "silver", "email": "a@b"}
    clock.now += keys.ttl

    async def away(_: str) -> None:
        raise OSError

    monkeypatch.setattr(keys.store.plans, "of", away)
    assert await claims() == gold
    assert (await claims("ann@cyan"))["plan"] == "silver"
    await auth.aclose()


async def test_nobody_is_nobody(keys: StoredKeys) -> None:
    """Without credentials there is no plan."""
    assert await StoredPlans(Authorizer(by_name), keys).authenticate(scope_of()) is None
