"""Policies in layers: what wins, where it comes from, what is refused."""

from __future__ import annotations

import pytest

from bff_core import (
    BreakerPolicy,
    HedgePolicy,
    Policy,
    RetryPolicy,
    ServiceClient,
    ServiceSettings,
    Settings,
    SettingsError,
    create_bff,
    get,
)
from bff_core.resilience import resolve


def test_each_layer_changes_what_it_says() -> None:
    """A policy that says only some of it leaves the rest to the layer above."""
    resolved = resolve(
        "Catalog.product",
        [("gateway", Policy(timeout=0.9, retry=RetryPolicy(attempts=3))), ("service", Policy(timeout=0.8))],
        operation=[("operation", Policy(hedge=HedgePolicy(enabled=True)))],
    )
    assert resolved.policy.timeout == 0.8
    assert resolved.policy.retry.attempts == 3
    assert resolved.policy.hedge.enabled
    assert resolved.policy.bulkhead == Policy().bulkhead
    sources = resolved.sources
    assert [sources[path] for path in ("timeout", "retry.attempts", "retry.base", "hedge.enabled", "bulkhead")] == [
        "service",
        "gateway",
        "default",
        "operation",
        "default",
    ]


def test_what_makes_no_sense_together_is_refused() -> None:
    """Layers that are right each for themselves may be wrong together."""
    with pytest.raises(SettingsError, match=r"Catalog: .*connect_timeout is longer than the timeout"):
        resolve("Catalog", [("a", Policy(connect_timeout=0.9)), ("b", Policy(timeout=0.6))])
    assert resolve("Catalog", [("a", Policy(timeout=0.2))]).policy.timeout == 0.2


def test_an_operation_cannot_change_the_services() -> None:
    """Breaker and bulkhead are shared by all operations of a service."""
    with pytest.raises(SettingsError, match=r"op sets breaker.window, which is the whole service's"):
        resolve("Catalog.product", [], operation=[("op", Policy(breaker=BreakerPolicy(window=5)))])


def test_in_code_and_in_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings beat code at the same level, the nearer level beats the farther one."""

    class Things(ServiceClient, service="things", policy=Policy(timeout=0.7, bulkhead=5)):
        @get("/a", policy=Policy(timeout=0.6))
        async def near(self) -> list[str]: ...

        @get("/b")
        async def far(self) -> list[str]: ...

    in_code = Settings(services={"things": ServiceSettings(url="http://x", policy=Policy(bulkhead=3))})
    assert create_bff("test", clients=[Things], settings=in_code).upstreams["things"].policy.timeout == 0.7
    monkeypatch.setenv("BFF_SERVICES__THINGS__URL", "http://things.test")
    monkeypatch.setenv("BFF_SERVICES__THINGS__POLICY__BULKHEAD", "9")
    monkeypatch.setenv("BFF_SERVICES__THINGS__OPERATIONS__FAR__RETRY__ATTEMPTS", "1")
    monkeypatch.setenv("BFF_POLICY__RETRY__BASE", "0.2")
    app = create_bff("test", clients=[Things], settings=Settings.load(log_level="CRITICAL"))
    bound = app.clients[Things].bound
    assert (bound["near"].policy.timeout, bound["far"].policy.timeout) == (0.6, 0.7)
    assert (bound["near"].policy.retry.attempts, bound["far"].policy.retry.attempts) == (2, 1)
    assert bound["far"].policy.retry.base == 0.2
    assert app.upstreams["things"].limit == 9
    assert bound["far"].resolved.sources["bulkhead"] == "settings services.things.policy"
    monkeypatch.setenv("BFF_SERVICES__THINGS__OPERATIONS__NOPE__TIMEOUT", "1")
    with pytest.raises(SettingsError, match=r"operations\.nope: there is no such operation; there is: far, near"):
        create_bff("test", clients=[Things], settings=Settings.load())
