"""Usage per tenant and day, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bff_core import Page, Principal, Quota, Settings, Usage, create_bff, section
from bff_core.limits.store import MemoryLimits
from bff_core.testing import bff_client
from tests.limits.test_limits import Users

ACME = Principal("acme", "api_key", tenant="acme")
BOLT = Principal("bolt", "api_key", tenant="bolt")
Make = Callable[..., Usage]


class Clock:
    def __init__(self, at: str) -> None:
        self.now = datetime.fromisoformat(at).timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/usage.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def make(url: str) -> AsyncIterator[Make]:
    made: list[Usage] = []

    def build(clock: Clock, zone: str = "UTC") -> Usage:
        made.append(Usage(url, clock=clock, zone=zone, flush=3600))
        return made[-1]

    yield build
    for one in made:
        await one.aclose()


async def test_replicas_add_up(make: Make) -> None:
    """Each writes what it has counted, as often as it likes; nobody's count is anybody else's."""
    clock = Clock("2026-11-21T12:00:00Z")
    one, other = make(clock), make(clock)
    for number in range(30):
        (one if number % 3 else other).count(ACME, 429 if number % 10 == 0 else 200)
        if number % 7 == 0:
            await one.flush()
            await other.flush()
    other.count(BOLT, 200)
    await other.flush()
    (day,) = await one.days("acme", 31)
    assert (day.day, day.requests, day.refused) == (date(2026, 11, 21), 27, 3)
    assert [each.requests for each in await one.days("bolt", 31)] == [1]
    assert await one.days("nobody", 31) == []


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        ("UTC", "2026-11-30T00:00:00+00:00"),
        ("Europe/Berlin", "2026-10-26T00:00:00+01:00"),  # after a day of 25 hours
        ("Europe/Berlin", "2026-03-30T00:00:00+02:00"),  # and of 23
        ("America/New_York", "2027-01-01T00:00:00-05:00"),
    ],
)
async def test_midnight(make: Make, zone: str, midnight: str) -> None:
    """A request belongs to the day that it is where the usage is counted."""
    clock = Clock(midnight)
    usage = make(clock, zone)
    for seconds in (-2, -1, 0, 1, 86_000):
        clock.now = Clock(midnight).now + seconds
        usage.count(ACME, 200)
    before, after = await usage.days("acme", 31)
    assert (before.requests, after.requests) == (2, 3)
    assert after.day == datetime.fromisoformat(midnight).date()
    assert datetime.fromtimestamp(clock.now, ZoneInfo(zone)).date() == after.day
    assert await usage.days("acme", 1) == [after]


async def test_what_cannot_be_written_is_kept(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is gone for a while costs no request."""
    clock = Clock("2026-11-21T12:00:00Z")
    usage = make(clock)
    usage.count(ACME, 200)
    engine = usage._engine
    await usage.flush()
    usage.count(ACME, 200)
    monkeypatch.setattr(usage, "_engine", None)
    with pytest.raises(AttributeError):
        await usage.flush()
    await usage._try()
    clock.now += 86_400
    usage.count(ACME, 200)
    monkeypatch.setattr(usage, "_engine", engine)
    assert [day.requests for day in await usage.days("acme", 31)] == [2, 1]
    assert len(usage._counts) == 1  # of the day that is over nothing is left in memory


async def test_what_is_counted_during_a_slow_flush_is_written(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the timer ran out during it, and nobody asks anything after it."""
    usage = make(Clock("2026-11-21T12:00:00Z"))
    flush = usage.flush

    def run_out() -> None:
        assert usage._timer is not None
        usage._timer.cancel()
        usage._start_flush()

    async def slow() -> None:
        await flush()
        usage.count(ACME, 200)
        run_out()

    monkeypatch.setattr(usage, "flush", slow)
    usage.count(ACME, 200)
    run_out()
    assert usage._flushing is not None
    await usage._flushing
    monkeypatch.setattr(usage, "flush", flush)
    run_out()
    await usage._flushing
    assert not usage._changed
    assert usage._timer is None


async def test_the_end_leaves_no_timer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though what is left cannot be written."""

    async def fail() -> None:
        raise OSError("the database is away")

    usage = Usage(f"sqlite:///{tmp_path}/usage.db")
    monkeypatch.setattr(usage, "flush", fail)
    usage.count(ACME, 200)
    await usage.aclose()
    assert usage._changed
    assert usage._timer is None


async def test_nobody_s_requests_are_a_tenants(make: Make) -> None:
    """Whoever has no tenant is counted alone, whatever they call themselves."""
    clock = Clock("2026-11-21T12:00:00Z")
    usage = make(clock)
    usage.count(Principal("acme", issuer="https://issuer.example"), 200)
    usage.count(Principal("acme"), 200)
    assert await usage.days("acme", 31) == []
    assert [day.requests for day in await usage.days("https://issuer.example|acme", 31)] == [1]
    assert [day.requests for day in await usage.days("|acme", 31)] == [1]


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "\ud800"])
async def test_a_name_that_no_database_takes_is_in_nobodys_way(make: Make, name: str) -> None:
    """The usage of all others is written all the same, and its own."""
    clock = Clock("2026-11-21T12:00:00Z")
    usage = make(clock)
    usage.count(Principal("who", tenant=name), 200)
    usage.count(ACME, 200)
    await usage.flush()
    assert [day.requests for day in await usage.days("acme", 31)] == [1]
    assert [day.requests for day in await usage.days(name, 31)] == [1]


class Hello(Page):
    @section
    def hello(self) -> str:
        return "hello"


async def test_a_gateway_through_a_month(tmp_path: Path) -> None:
    """The quota and the usage agree: over the end of a month, and over an upgrade in the middle of one."""
    clock = Clock("2026-11-30T23:59:58Z")
    quota = Quota("month", 2, per="month", key="tenant", plans={"gold": 4})
    usage = Usage(f"sqlite:///{tmp_path}/usage.db", clock=clock)
    app = create_bff("t", settings=Settings(), clients=[], auth=Users(), limits=[quota], usage=usage)
    app.page("/hello", Hello)
    assert app.limiter.store is not None
    app.limiter.store.memory = MemoryLimits(clock=lambda: round(clock() * 1_000_000))
    async with bff_client(app) as client:

        async def ask(times: int, who: str = "ann acme") -> list[int]:
            return [(await client.get("/hello", headers={"authorization": who})).status_code for _ in range(times)]

        assert await ask(3) == [200, 200, 429]
        clock.now += 2
        assert datetime.fromtimestamp(clock.now, UTC).day == 1
        assert await ask(3) == [200, 200, 429]
        assert await ask(3, "ann acme gold") == [200, 200, 429]
        november, december = await usage.days("acme", 31)
        assert (november.requests, november.refused) == (2, 1)
        assert (december.requests, december.refused) == (4, 2)
        assert (await client.get("/hello")).status_code == 401
        assert (await client.get("/nothing", headers={"authorization": "ann acme"})).status_code == 404
        assert (await usage.days("acme", 1))[0] == december
