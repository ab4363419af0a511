"""Endpoints: what a URL may say, who gets the next call, and who gets none."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from bff_core import (
    HealthPolicy,
    OutlierPolicy,
    Page,
    Policy,
    RetryPolicy,
    ServiceClient,
    ServiceSettings,
    Settings,
    create_bff,
    get,
    required,
)
from bff_core.balance import BalancedWire, Balancer, Endpoint, parse_targets
from bff_core.balance.health import judge
from bff_core.testing import HostileServer, bff_client, refused_port
from bff_core.wire import HttpxWire

IDLE: Any = None


def endpoints(*weights: float, **options: Any) -> list[Endpoint]:
    return [Endpoint(f"e{number}", IDLE, weight=weight, **options) for number, weight in enumerate(weights)]


def picks(balancer: Balancer, count: int, now: float = 100.0) -> Counter[str]:
    return Counter(balancer.pick(now).origin for _ in range(count))


def test_targets() -> None:
    """One, several with weights, a name to look up again."""
    (one,) = parse_targets("http://a:1/base/")
    assert (one.origin, one.path, one.weight, one.resolve) == ("http://a:1", "/base", 1.0, None)
    first, second = parse_targets("http://a:1/x, http://b:2/x;weight=2.5;resolve=30")
    assert (second.weight, second.resolve, first.path) == (2.5, 30.0, "/x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be http"),
        ("ftp://a", "must be http"),
        ("http://u:p@a", "must be http"),
        ("http://a?x=1", "must be http"),
        ("http://a,https://b", "same scheme"),
        ("http://a/x,http://b/y", "same scheme and path"),
        ("http://a,http://a", "twice"),
        ("http://a;weight=0", "'weight=0' is neither"),
        ("http://a;weight=x", "'weight=x' is not NAME=NUMBER"),
        ("http://a;resolve=0.1", "'resolve=0.1' is neither"),
        ("http://a;colour=1", "'colour=1' is neither"),
        ("http://a;weight=inf", "neither"),
        ("http://a;weight=nan", "neither"),
    ],
)
def test_wrong_targets(text: str, message: str) -> None:
    """What is wrong is quoted."""
    with pytest.raises(ValueError, match=message):
        parse_targets(text)


@pytest.mark.parametrize("weights", [(1, 1), (1, 2), (1, 1, 4), (0.5, 0.25, 3, 1)])
def test_weights_are_respected(weights: tuple[float, ...]) -> None:
    """With equal load each gets its share."""
    balancer = Balancer(endpoints(*weights), rng=random.Random(1))
    counts = picks(balancer, 20_000)
    for number, weight in enumerate(weights):
        assert counts[f"e{number}"] / 20_000 == pytest.approx(weight / sum(weights), abs=0.02)


def test_the_slow_and_the_busy_get_less() -> None:
    """Of two that are drawn the less loaded is taken."""
    slow, quick = endpoints(1, 1)
    for endpoint, latency in ((slow, 0.5), (quick, 0.01)):
        endpoint.started()
        endpoint.succeeded(100.0, latency)
    counts = picks(Balancer([slow, quick], rng=random.Random(1)), 4000)
    assert counts["e0"] / 4000 == pytest.approx(0.25, abs=0.03)
    busy, idle = endpoints(1, 1)
    for _ in range(10):
        busy.started()
    counts = picks(Balancer([busy, idle], rng=random.Random(1)), 4000)
    assert counts["e0"] / 4000 == pytest.approx(0.25, abs=0.03)


def test_latency_is_forgotten() -> None:
    """A peak counts at once and is gone after a while."""
    (endpoint,) = endpoints(1)
    endpoint.started()
    endpoint.succeeded(100.0, 0.01)
    endpoint.started()
    endpoint.succeeded(100.1, 2.0)
    assert endpoint.load(100.1) == pytest.approx(2.0, rel=0.01)
    assert endpoint.load(160.0) < 0.01


def test_ejection() -> None:
    """Five failures in a row, for longer each time; a success in between begins anew."""
    balancer = Balancer(endpoints(1, 1), rng=random.Random(1))
    bad = balancer.endpoints[0]
    now = 1000.0
    for length in (30, 60, 90):
        for number in range(5):
            bad.started()
            assert balancer.failed(bad, now, 0.1) is (number == 4)
        assert bad.ejected_until == now + length
        assert picks(balancer, 100, now + length - 1) == {"e1": 100}
        now += length
        assert picks(balancer, 1000, now + 60)["e0"] > 0
    for _ in range(50):
        for _ in range(4):
            bad.started()
            assert not balancer.failed(bad, now, 0.1)
        bad.started()
        bad.succeeded(now, 0.1)


def test_a_further_attempt_goes_to_another() -> None:
    """Who has just failed is not asked again at once, unless there is nobody else."""
    balancer = Balancer(endpoints(1, 1), rng=random.Random(1))
    for number, endpoint in enumerate(balancer.endpoints):
        endpoint.started()
        balancer.failed(endpoint, 100.0, 0.01)
        assert set(picks(balancer, 200, 100.5)) == ({"e1"} if number == 0 else {"e0", "e1"})


def test_never_all_are_ejected() -> None:
    """At most half, however bad; and if nobody is healthy, somebody is asked all the same."""
    balancer = Balancer(endpoints(1, 1, 1, 1), rng=random.Random(1))
    for endpoint in balancer.endpoints:
        for _ in range(20):
            endpoint.started()
            balancer.failed(endpoint, 100.0, 0.1)
    assert sum(not endpoint.available(100.0) for endpoint in balancer.endpoints) == 2
    for endpoint in balancer.endpoints:
        endpoint.checked(100.0, healthy=False)
    assert picks(balancer, 100).total() == 100


@given(st.floats(min_value=0, max_value=100), st.floats(min_value=0, max_value=100))
def test_slow_start_is_a_ramp(earlier: float, later: float) -> None:
    """From a tenth to the whole, never down."""
    earlier, later = sorted((earlier, later))
    endpoint = Endpoint("e", IDLE, weight=2.0, slow_start=20.0, now=50.0)
    assert 0.2 <= endpoint.weight(50 + earlier) <= endpoint.weight(50 + later) <= 2.0
    assert endpoint.weight(70.0) == 2.0


@given(st.lists(st.sampled_from(["start", "good", "bad", "drop"]), max_size=200))
def test_in_flight_is_a_count(steps: list[str]) -> None:
    """As many as were started and have not ended, whatever their end was."""
    (endpoint,) = endpoints(1)
    model, now = 0, 100.0
    for step in steps:
        now += 0.1
        if step == "start":
            endpoint.started()
            model += 1
        elif model:
            model -= 1
            {
                "good": lambda t: endpoint.succeeded(t, 0.1),
                "bad": lambda t: endpoint.failed(t, 0.1),
                "drop": lambda _: endpoint.dropped(),
            }[step](now)
        assert endpoint.in_flight == model
        assert endpoint.load(now) > 0
        assert math.isfinite(endpoint.load(now))


def test_health_checks_need_a_streak() -> None:
    """One bad answer is no verdict; three are, and two good ones revoke it, with a slow start."""
    (endpoint,) = endpoints(1, slow_start=10.0)
    streaks: Counter[str] = Counter()
    policy = HealthPolicy(path="/health")
    for number, (good, healthy) in enumerate(
        [
            (False, True),
            (False, True),
            (True, True),
            (False, True),
            (False, True),
            (False, False),
            (True, False),
            (True, True),
        ]
    ):
        judge(endpoint, streaks, policy, 100.0 + number, good=good)
        assert endpoint.healthy is healthy
    assert endpoint.weight(107.0) == pytest.approx(0.1)


class Ok(BaseModel):
    ok: bool


class Things(ServiceClient, service="things"):
    @get("/{behaviour}")
    async def ask(self, behaviour: str) -> Ok: ...

    @get("/{behaviour}", policy=Policy(timeout=0.03))
    async def quick(self, behaviour: str) -> Ok: ...


class Ask(Page):
    answer = required(Things.ask)


class Quick(Page):
    answer = required(Things.quick)


def gateway(url: str, **policy: Any) -> Any:
    settings = Settings(services={"things": ServiceSettings(url=url, policy=Policy(**policy))}, log_level="CRITICAL")
    app = create_bff("test", settings=settings, clients=[Things])
    app.page("/{behaviour}", Ask, public=True)
    app.page("/quick/{behaviour}", Quick, public=True)
    return app


async def test_a_dead_endpoint_is_gone_round() -> None:
    """Over real sockets: one of two does not listen; every page is there, and the dead one is ejected."""
    async with HostileServer() as server:
        app = gateway(f"{server.url},http://127.0.0.1:{refused_port()}", outlier=OutlierPolicy(consecutive=2))
        ejected: list[str] = []
        app.events.subscribe(lambda event: ejected.append(event.detail) if event.name == "OnEjected" else None)
        async with bff_client(app) as client:
            answers = [(await client.get(f"/ok?{number}")).status_code for number in range(60)]
            assert answers == [200] * 60
            wire = app.upstreams["things"].wire
            assert isinstance(wire, BalancedWire)
            assert [endpoint.in_flight for endpoint in wire.balancer.endpoints] == [0, 0]
            for _ in range(100):
                if wire.in_flight == 0:
                    break
                await asyncio.sleep(0.01)
            assert wire.in_flight == 0
        assert len(ejected) <= 1


async def test_calls_are_spread_and_abandoned_ones_given_back() -> None:
    """Two live endpoints both work; a hanging call that is let go counts no more."""
    async with HostileServer() as one, HostileServer() as two:
        app = gateway(f"{one.url},{two.url};weight=3", timeout=0.6)
        async with bff_client(app) as client:
            for _ in range(80):
                assert (await client.get("/ok")).status_code == 200
            assert one.requests["ok"] > 0
            assert two.requests["ok"] > 0
            hurried = await client.get("/never", headers={"grpc-timeout": "30m"})
            assert hurried.status_code == 504
            endpoints = app.upstreams["things"].wire.balancer.endpoints
            assert [endpoint.in_flight for endpoint in endpoints] == [0, 0]
            assert [endpoint.weight(math.inf) for endpoint in endpoints] == [1, 3]
            one.release.set()
            two.release.set()


@pytest.mark.parametrize(
    ("path", "hurry", "ejected"), [("/quick/never", {}, 1), ("/never", {"grpc-timeout": "30m"}, 0)]
)
async def test_whose_fault_a_timeout_is(path: str, hurry: dict[str, str], ejected: int) -> None:
    """One that an operation declares is the endpoint's, be it shorter than the service's; a client's own is not."""
    async with HostileServer() as one, HostileServer() as two:
        policy = {"outlier": OutlierPolicy(consecutive=2), "retry": RetryPolicy(attempts=1), "timeout": 0.6}
        app = gateway(f"{one.url},{two.url}", **policy)
        heard: list[str] = []
        app.events.subscribe(lambda event: heard.append(event.name))
        async with bff_client(app) as client:
            for _ in range(6):
                assert (await client.get(path, headers=hurry)).status_code == 504
            one.release.set()
            two.release.set()
        assert heard.count("OnEjected") == ejected


async def test_an_unhealthy_endpoint_is_not_asked() -> None:
    """Active checks find it before a client does."""
    async with HostileServer() as good, HostileServer() as bad:
        health = HealthPolicy(path="/ok", interval=0.02, timeout=0.5, unhealthy=1, healthy=1)
        app = gateway(f"{good.url},{bad.url}", health=health)
        async with bff_client(app) as client:
            wire = app.upstreams["things"].wire
            first, second = wire.balancer.endpoints
            second.wire = HttpxWire(
                f"http://127.0.0.1:{refused_port()}", httpx.AsyncHTTPTransport(), connect_timeout=0.2, max_body=100
            )
            for _ in range(200):
                if not second.healthy:
                    break
                await asyncio.sleep(0.01)
            assert (first.healthy, second.healthy) == (True, False)
            for _ in range(20):
                assert (await client.get("/close-after")).status_code == 200
            assert bad.requests["close-after"] == 0


async def test_a_name_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each address is an endpoint; a look-up that fails changes nothing; the name stays what is spoken to."""
    async with HostileServer() as server:
        port = server.url.rpartition(":")[2]
        answers = [[], [f"http://127.0.0.1:{port}"], [f"http://127.0.0.1:{port}", f"http://127.0.0.2:{port}"], []]

        async def resolve(origin: str) -> list[str]:
            assert origin == f"http://localhost:{port}"
            return answers.pop(0) if answers else []

        pauses: list[float] = []
        real_sleep = asyncio.sleep

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            await real_sleep(0 if len(pauses) < 6 else 3600)

        monkeypatch.setattr("bff_core.balance.wire.resolve_addresses", resolve)
        monkeypatch.setattr("bff_core.balance.wire.asyncio.sleep", sleep)
        app = gateway(f"http://localhost:{port};resolve=30", slow_start=0)
        async with bff_client(app) as client:
            wire = app.upstreams["things"].wire
            for _ in range(500):
                if len(pauses) >= 6:
                    break
                await real_sleep(0.005)
            assert set(pauses) == {30.0}
            origins = {endpoint.origin for endpoint in wire.balancer.endpoints}
            assert origins == {f"http://127.0.0.1:{port}", f"http://127.0.0.2:{port}"}
            assert (await client.get("/ok")).status_code == 200


async def test_who_leaves_the_name_ends_what_it_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets nothing new; its connections are closed once nobody waits for it any more."""
    async with HostileServer() as one, HostileServer() as two:
        addresses = [one.url]

        async def resolve(_: str) -> list[str]:
            return list(addresses)

        passes: list[float] = []
        real_sleep = asyncio.sleep

        async def sleep(seconds: float) -> None:
            passes.append(seconds)
            await real_sleep(0.002 if seconds == 30 else seconds)

        async def until(true: Callable[[], bool]) -> None:
            for _ in range(1000):
                if true():
                    return
                await real_sleep(0.002)
            raise AssertionError("never happened")

        monkeypatch.setattr("bff_core.balance.wire.resolve_addresses", resolve)
        monkeypatch.setattr("bff_core.balance.wire.asyncio.sleep", sleep)
        app = gateway("http://things.test:1;resolve=30", slow_start=0)
        async with bff_client(app) as client:
            endpoints = app.upstreams["things"].wire.balancer
            await until(lambda: [each.origin for each in endpoints.endpoints] == [one.url])
            begun = asyncio.create_task(client.get("/late"))
            await until(lambda: one.requests["late"] == 1)
            addresses[:] = [two.url]
            seen = len(passes)
            await until(lambda: len(passes) > seen + 2)
            assert [each.origin for each in endpoints.endpoints] == [two.url]
            assert (await client.get("/ok")).status_code == 200
            one.release.set()
            assert (await begun).status_code == 200
            await until(lambda: one.open == 0)
            assert (one.requests["ok"], two.requests["ok"]) == (0, 1)
