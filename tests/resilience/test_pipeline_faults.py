"""What the whole pipeline does under faults, through pages: how often the service is asked, and what is counted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from bff_core import (
    Bff,
    BreakerPolicy,
    HedgePolicy,
    Page,
    Policy,
    RetryPolicy,
    ServiceClient,
    ServiceSettings,
    Settings,
    create_bff,
    get,
    put,
    required,
)
from bff_core.testing import FakeServices, HostileServer, bff_client, refused_port


class Ok(BaseModel):
    ok: bool


class Things(ServiceClient, service="things"):
    @get("/{key}")
    async def ask(self, key: str) -> Ok: ...

    @put("/{key}")
    async def set(self, key: str) -> Ok: ...

    @put("/{key}", idempotent=False)
    async def toggle(self, key: str) -> Ok: ...


class Ask(Page):
    answer = required(Things.ask)


class Set(Page):
    answer = required(Things.set)


class Toggle(Page):
    answer = required(Things.toggle)


def gateway(url: str, transport: httpx.AsyncBaseTransport | None = None, **policy: Any) -> tuple[Bff, Counter[str]]:
    settings = Settings(
        services={"things": ServiceSettings(url=url, policy=Policy(**policy))}, log_level="CRITICAL", shed_after=10
    )
    app = create_bff("test", settings=settings, clients=[Things], transport=transport)
    app.page("/{key}", Ask, public=True)
    app.page("/critical/{key}", Ask, public=True, criticality="critical")
    app.page("/sheddable/{key}", Ask, public=True, criticality="sheddable")
    heard: Counter[str] = Counter()
    app.events.subscribe(lambda event: heard.update([event.name]))
    return app, heard


@pytest.fixture
def services() -> FakeServices:
    return FakeServices("things")


async def test_connect_refused_is_tried_twice() -> None:
    """One retry, both attempts recorded, and 503."""
    app, heard = gateway(f"http://127.0.0.1:{refused_port()}")
    async with bff_client(app) as client:
        assert (await client.get("/x")).status_code == 503
    assert heard["OnRetry"] == 1
    breaker = app.upstreams["things"].breaker
    assert breaker._failures.total(time.monotonic()) == 2


async def test_business_errors_are_nobodys_failure(services: FakeServices) -> None:
    """4xx count neither for nor against the service."""
    services["things"].get(path__regex=".*").respond(404)
    app, _ = gateway("http://things.test", services.transport)
    async with bff_client(app) as client:
        for number in range(50):
            assert (await client.get(f"/{number}")).status_code == 404
    breaker = app.upstreams["things"].breaker
    assert breaker.state == "closed"
    assert breaker._calls.total(time.monotonic()) == 0


async def test_a_service_that_refuses_is_back(services: FakeServices) -> None:
    """The circuit closes also where most are told that there is no such thing."""
    route = services["things"].get(path__regex=".*")
    route.respond(500)
    app, heard = gateway(
        "http://things.test",
        services.transport,
        retry=RetryPolicy(attempts=1),
        breaker=BreakerPolicy(minimum_calls=3, open_for=0.01, jitter=0, half_open_calls=2),
    )
    async with bff_client(app) as client:
        for number in range(3):
            await client.get(f"/{number}")
        route.respond(404)
        for number in range(100):
            await client.get(f"/{number}")
            if heard["OnCircuitClosed"]:
                break
            await asyncio.sleep(0.005)
    assert (heard["OnCircuitOpened"], heard["OnCircuitClosed"]) == (1, 1)


async def test_too_many_requests_is_retried_but_no_failure(services: FakeServices) -> None:
    """429 asks for patience; the circuit stays as it is."""
    route = services["things"].get("/x")
    route.side_effect = [httpx.Response(429, headers={"retry-after": "0"}), httpx.Response(200, json={"ok": True})]
    app, _ = gateway("http://things.test", services.transport)
    async with bff_client(app) as client:
        assert (await client.get("/x")).status_code == 200
    assert app.upstreams["things"].breaker._failures.total(time.monotonic()) == 0


async def test_a_total_outage_is_not_amplified(services: FakeServices) -> None:
    """With the breaker out of the way, the service gets at most 1.2 times the arrivals and the reserve; with it,
    hardly anything."""
    services["things"].get(path__regex=".*").respond(500)
    arrivals, reserve = 400, 1.0
    never = BreakerPolicy(minimum_calls=1_000_000)
    app, _ = gateway(
        "http://things.test",
        services.transport,
        retry=RetryPolicy(base=0.001, cap=0.001, reserve=reserve),
        breaker=never,
        bulkhead=1000,
    )
    async with bff_client(app) as client:
        for start in range(0, arrivals, 20):
            await asyncio.gather(*(client.get(f"/{number}") for number in range(start, start + 20)))
    assert arrivals < services.count("things") <= 1.2 * arrivals + reserve * 10
    services.requests.clear()
    app, heard = gateway("http://things.test", services.transport, retry=RetryPolicy(base=0.001, cap=0.001))
    async with bff_client(app) as client:
        for number in range(arrivals):
            assert (await client.get(f"/{number}")).status_code in (502, 503)
    assert heard["OnCircuitOpened"] == 1
    assert services.count("things") < 50


async def test_a_hedge_is_paid_once_and_the_loser_let_go() -> None:
    """Over real sockets: the second attempt wins, the budget has one extra attempt less, nothing stays in use."""
    async with HostileServer() as hostile:
        app, heard = gateway(
            hostile.url,
            hedge=HedgePolicy(enabled=True, delay=0.02),
            timeout=0.6,
            retry=RetryPolicy(budget=0, reserve=0.1),
        )
        async with bff_client(app) as client:
            assert (await client.get("/late")).status_code == 504
            assert hostile.requests["late"] == 2
            assert heard["OnHedging"] == 1
            assert not app.upstreams["things"].budget.withdraw(time.monotonic())
            hostile.release.set()
            assert (await client.get("/ok")).status_code == 200
            for _ in range(100):
                if app.upstreams["things"].wire.in_flight == 0:
                    break
                await asyncio.sleep(0.02)
            assert app.upstreams["things"].wire.in_flight == 0


@pytest.mark.parametrize(("first", "page"), [(404, 404), (503, 200)])
async def test_a_definite_answer_ends_a_hedged_call(services: FakeServices, first: int, page: int) -> None:
    """What would not be retried is not waited out either, and the other attempt is let go."""
    hedged, late = asyncio.Event(), asyncio.Event()
    asked: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if len(asked) == 1:
            await hedged.wait()
            return httpx.Response(first)
        hedged.set()
        if page != 200:
            await late.wait()
        return httpx.Response(200, json={"ok": True})

    services["things"].get("/x").mock(side_effect=answer)
    app, heard = gateway(
        "http://things.test", services.transport, hedge=HedgePolicy(enabled=True, delay=0.01), timeout=20
    )
    async with bff_client(app) as client:
        assert (await client.get("/x")).status_code == page
        late.set()
    assert (len(asked), heard["OnHedging"], heard["OnTimeout"]) == (2, 1, 0)


async def test_no_hedge_on_an_open_circuit(services: FakeServices) -> None:
    """What must not be sent is not sent a second time either."""
    hanging = asyncio.Event()
    asked: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        while breaker.state == "closed":
            breaker.admit(time.monotonic()).failure(time.monotonic())
        await hanging.wait()
        return httpx.Response(200, json={"ok": True})

    services["things"].get("/x").mock(side_effect=answer)
    app, heard = gateway("http://things.test", services.transport, hedge=HedgePolicy(enabled=True, delay=0.2))
    async with bff_client(app) as client:
        breaker = app.upstreams["things"].breaker
        call = asyncio.create_task(client.get("/x"))
        await asyncio.sleep(0.3)
        hanging.set()
        assert asked == ["/x"]
        assert breaker.state == "open"
        assert (await call).status_code == 200
    assert "OnHedging" not in heard


async def test_a_full_bulkhead_refuses_at_once(services: FakeServices) -> None:
    """Where nobody may wait for a place; and the circuit does not hear of it."""
    hanging = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        await hanging.wait()
        return httpx.Response(200, json={"ok": True})

    services["things"].get(path__regex=".*").mock(side_effect=answer)
    app, heard = gateway("http://things.test", services.transport, bulkhead=3, bulkhead_queue=0)
    async with bff_client(app) as client:
        held = [asyncio.create_task(client.get(f"/{number}")) for number in range(3)]
        while app.upstreams["things"].wire.in_flight < 3:
            await asyncio.sleep(0.001)
        refused = await client.get("/one-more")
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert heard["OnBulkheadRejected"] == 1
        hanging.set()
        assert [answer.status_code for answer in await asyncio.gather(*held)] == [200] * 3
    assert app.upstreams["things"].breaker._failures.total(time.monotonic()) == 0


class Held:
    """A service that answers when it is let, and what it was asked, in order."""

    def __init__(self, services: FakeServices, status: int = 200) -> None:
        self.asked: list[str] = []
        self.status = status
        self._places: list[asyncio.Event] = []
        services["things"].get(path__regex=".*").mock(side_effect=self._answer)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        place = asyncio.Event()
        self._places.append(place)
        await place.wait()
        return httpx.Response(self.status, json={"ok": True})

    def release(self) -> None:
        """The one that came first."""
        self._places.pop(0).set()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_burst_waits_for_the_bulkhead_in_order(services: FakeServices) -> None:
    """At most so many at once, none refused, first come first served; who leaves makes no room and leaves no trace."""
    held = Held(services)
    app, heard = gateway("http://things.test", services.transport, bulkhead=2, bulkhead_queue=5, timeout=9)
    upstream = app.upstreams["things"]
    async with bff_client(app) as client:
        asking = []
        for number in range(6):
            asking.append(asyncio.create_task(client.get(f"/{number}")))
            await until(lambda: len(held.asked) + len(upstream.waiting) == len(asking))
        assert (held.asked, len(upstream.waiting)) == (["/0", "/1"], 4)
        asking.pop(3).cancel()
        await until(lambda: len(upstream.waiting) == 3)
        for expected in (["/2"], ["/2", "/4"], ["/2", "/4", "/5"]):
            held.release()
            await until(lambda expected=expected: held.asked[2:] == expected)  # type: ignore[misc]
            assert upstream.wire.in_flight == 2
        held.release()
        held.release()
        assert [answer.status_code for answer in await asyncio.gather(*asking)] == [200] * 5
    assert not upstream.waiting
    assert heard["OnBulkheadRejected"] == 0
    assert upstream.breaker._failures.total(time.monotonic()) == 0


async def test_no_place_for_a_second_attempt_is_not_what_went_wrong(services: FakeServices) -> None:
    """The first one said what did: it may have been done, which that there was no place does not tell."""
    app, heard = gateway("http://things.test", services.transport, bulkhead=1, bulkhead_queue=0)
    upstream = app.upstreams["things"]
    waits = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/holds":
            await waits.wait()
            return httpx.Response(200, json={"ok": True})
        holding.append(asyncio.create_task(client.get("/holds")))
        raise httpx.ReadError("lost")

    services["things"].get(path__regex=".*").mock(side_effect=answer)
    holding: list[asyncio.Task[httpx.Response]] = []
    async with bff_client(app) as client:
        lost = await client.get("/lost")
        waits.set()
        await asyncio.gather(*holding)
    assert heard["OnBulkheadRejected"] >= 1
    assert lost.status_code == 502, "not 503, there is no place"
    assert not upstream.waiting


async def test_what_cannot_be_sent_is_its_own_failure_only(services: FakeServices) -> None:
    """Not that of the call whose end made room for it, nor of those behind it."""
    held = Held(services)
    app, _ = gateway("http://things.test", services.transport, bulkhead=1, timeout=9)
    upstream = app.upstreams["things"]
    send = upstream.wire.send

    def fails(method: str, target: str, *rest: Any, **options: Any) -> Any:
        if target == "/broken":
            raise ValueError("a header that is none")
        return send(method, target, *rest, **options)

    upstream.wire.send = fails  # type: ignore[method-assign]
    async with bff_client(app) as client:
        asking = []
        for name in ("first", "broken", "last"):
            asking.append(asyncio.create_task(client.get(f"/{name}")))
            await until(lambda: len(held.asked) + len(upstream.waiting) == len(asking))
        held.release()
        await until(lambda: len(held.asked) == 2)
        held.release()
        assert [answer.status_code for answer in await asyncio.gather(*asking)] == [200, 502, 200]
    assert held.asked == ["/first", "/last"]


async def test_waiting_for_the_bulkhead_ends_with_the_deadline(services: FakeServices) -> None:
    """Nothing was sent, which is no failure of the service; the queue has an end as well."""
    held = Held(services)
    app, heard = gateway("http://things.test", services.transport, bulkhead=1, bulkhead_queue=1, timeout=9)
    async with bff_client(app) as client:
        first = asyncio.create_task(client.get("/first"))
        await until(lambda: len(held.asked) == 1)
        hurried = asyncio.create_task(client.get("/hurried", headers={"grpc-timeout": "50m"}))
        await until(lambda: len(app.upstreams["things"].waiting) == 1)
        assert (await client.get("/one-more")).status_code == 503
        assert (await hurried).status_code == 503
        assert not app.upstreams["things"].waiting
        held.release()
        assert (await first).status_code == 200
    assert held.asked == ["/first"]
    assert heard["OnBulkheadRejected"] == 2
    assert app.upstreams["things"].breaker._failures.total(time.monotonic()) == 0


async def test_those_who_wait_hear_of_an_open_circuit(services: FakeServices) -> None:
    """They are not sent to a service that has failed meanwhile, and do not wait for their deadline."""
    held = Held(services, status=500)
    calm = {"breaker": BreakerPolicy(minimum_calls=1, failure_rate=0.5), "retry": RetryPolicy(attempts=1)}
    app, heard = gateway("http://things.test", services.transport, bulkhead=1, timeout=9, **calm)
    async with bff_client(app) as client:
        asking = []
        for number in range(4):
            asking.append(asyncio.create_task(client.get(f"/{number}")))
            await until(lambda: len(held.asked) + len(app.upstreams["things"].waiting) == len(asking))
        held.release()
        answers = await asyncio.gather(*asking)
    assert [answer.status_code for answer in answers] == [502, 503, 503, 503]
    assert held.asked == ["/0"]
    assert heard["OnCircuitRejected"] == 3


async def test_what_waited_for_its_turn_has_waited(services: FakeServices) -> None:
    """The deadline and the duration of a page begin when its request came, and who is too late is not worked for."""
    services["things"].get(path__regex=".*").respond(json={"ok": True})
    app, _ = gateway("http://things.test", services.transport)

    async def later(scope: Any, receive: Any, send: Any) -> None:
        scope["bff.arrived"] = time.monotonic() - float(scope["path"][1:])
        await app(scope, receive, send)

    async with bff_client(app), httpx.AsyncClient(transport=httpx.ASGITransport(later)) as client:
        for_a_second = await client.get("http://bff.test/1.5")
        assert for_a_second.status_code == 200
        assert float(for_a_second.headers["server-timing"].rpartition("=")[2]) >= 1500
        too_late = await client.get("http://bff.test/9")
        assert too_late.status_code == 504
        assert "more to do" in too_late.json()["detail"]
    assert len(services["things"].calls) == 1


async def test_a_flood_of_the_unimportant_leaves_room(services: FakeServices) -> None:
    """Overloaded, the gateway refuses the sheddable at once, with 503 and Retry-After, and serves the critical."""
    services["things"].get(path__regex=".*").respond(json={"ok": True})
    app, heard = gateway("http://things.test", services.transport)
    async with bff_client(app) as client:
        statuses = {kind: Counter[int]() for kind in ("sheddable", "critical", "")}
        for number in range(100):
            for kind, counted in statuses.items():
                app.shedder.level = 1.5
                answer = await client.get(f"/{kind}/{number}" if kind else f"/{number}")
                counted[answer.status_code] += 1
                if answer.status_code == 503:
                    assert answer.headers["retry-after"] == "1"
                    assert answer.headers["content-type"] == "application/problem+json"
    assert statuses["sheddable"] == {503: 100}
    assert statuses["critical"] == {200: 100}
    assert heard["OnShed"] == statuses["sheddable"][503] + statuses[""][503]
    assert statuses[""][503] == pytest.approx(50, abs=1)


@pytest.mark.parametrize(("path", "status", "asked"), [("/x", 200, 3), ("/toggle/x", 502, 2)])
async def test_what_is_not_idempotent_is_not_sent_again_by_the_wire(path: str, status: int, asked: int) -> None:
    """Whatever its method: over a connection that was used before, and ends without an answer, it may have come."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                if len(heads) == 2:
                    break
                writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"ok":true}')
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        app, _ = gateway(url, retry=RetryPolicy(attempts=1))
        app.page("/{key}", Set, method="PUT", public=True)
        app.page("/toggle/{key}", Toggle, method="PUT", public=True)
        async with bff_client(app) as client:
            assert (await client.get("/x")).status_code == 200
            assert (await client.put(path)).status_code == status
    assert len(heads) == asked
