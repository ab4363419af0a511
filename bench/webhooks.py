"""Webhooks under bad luck: dead, hanging, slow and flapping endpoints, dispatchers killed, the store restarted.

``python -m bench.webhooks [--events 10000] [--endpoints 50] [--dispatchers 2] [--store sqlite|postgresql]``. A run with
the healthy endpoints alone comes first; then one with the others among them. Exit status 1 when an event did not reach
a healthy endpoint, came under another id, waits for ever, or when the delay of the healthy ones grew by more than half.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from bff_core.testing import refused_port
from bff_core.webhooks import Verifier, Webhooks
from tests.servers import PostgresProcess
from tests.webhooks.fleet import Fleet, Order, build
from tests.webhooks.receiver import Got, Receiver

TOGETHER = 20  # events in a transaction
WARM = "evt-warm"
CHECKED = 100  # one signature in so many
MOST_RATIO = 1.5
KILL_EVERY = 10.0  # seconds
FLAPS, MOST_FLAPS = 0.3, 3
SETTINGS: dict[str, Any] = {
    "timeout": 2.0,
    "turn": 1.0,
    "poll": 0.1,
    "schedule": [0.5, 1.0, 2.0, 4.0, 8.0, 16.0],
    "warn_after": 10.0,
    "disable_after": 20.0,
    "max_endpoints": 1000,
}
BAD = ("refused", "hanging", "broken", "slow", "flapping")
HOPELESS = ("refused", "hanging", "broken")
console = Console(width=140)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run. Seconds; ``delays`` are from an event's commit to its arrival at a healthy endpoint."""

    name: str
    deliveries: int
    repeated: int
    attempts: int
    seconds: float
    delays: list[float]
    killed: int
    dead: int
    faults: list[str]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.delays)


class Arrivals(Receiver):
    """Remembers when each event came first, by endpoint; some signatures are verified."""

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, dict[str, float]] = {}
        self.keys: dict[str, Verifier] = {}
        self.accepted = 0
        self._refused: Counter[tuple[str, str]] = Counter()
        self.seen = 0

    def take(self, got: Got) -> tuple[int, bytes] | Awaitable[tuple[int, bytes]]:
        path = got.path.strip("/")
        self.seen += 1
        if self.seen % CHECKED == 0:
            self.keys[path].verify(got.body, got.headers)
        kind = path.partition("-")[0]
        if kind == "broken" or (kind == "flapping" and self._flaps(path, got.id)):
            return 500, b""
        if kind == "hanging":
            return self._never()
        self.accepted += 1
        self.first[path].setdefault(got.id, time.monotonic())
        return self._slowly() if kind == "slow" else (204, b"")

    def _flaps(self, path: str, event: str) -> bool:
        """Now and then, but not so often that an event's attempts could be used up."""
        refused = self._refused[path, event]
        if refused >= MOST_FLAPS or random.random() > FLAPS:
            return False
        self._refused[path, event] += 1
        return True

    async def _never(self) -> tuple[int, bytes]:
        await asyncio.sleep(60)
        return 204, b""

    async def _slowly(self) -> tuple[int, bytes]:
        await asyncio.sleep(0.05)
        return 204, b""


class Soak:
    """One run: ``kinds`` are the endpoints, ``events`` how many each is told of."""

    def __init__(
        self,
        name: str,
        url: str,
        kinds: list[str],
        events: int,
        dispatchers: int,
        server: PostgresProcess | None,
        kill_every: float = KILL_EVERY,
        most_kills: float = math.inf,
        **changes: Any,
    ) -> None:
        self._name = name
        self._settings = {**SETTINGS, "url": url, **changes}
        self._kill_every = kill_every
        self._most_kills = most_kills
        self._kinds = kinds
        self._count = events
        self._dispatchers = dispatchers
        self._server = server
        self._webhooks = build(self._settings)
        self._receiver = Arrivals()
        self._published: dict[str, float] = {}

    async def run(self) -> Outcome:
        """Everything, from making the endpoints to counting what arrived."""
        async with self._receiver:
            await self._webhooks.prepare()
            for number, kind in enumerate(self._kinds):
                await self._add(f"{kind}-{number}")
            fleet = Fleet(self._dispatchers, self._settings)
            await self._warm_up()
            chaos = asyncio.create_task(self._chaos(fleet))
            began = time.monotonic()
            try:
                await self._publish()
                while not self._arrived() or await self._number("state = 'pending'"):
                    await asyncio.sleep(0.5)
            finally:
                chaos.cancel()
                await asyncio.get_running_loop().run_in_executor(None, fleet.close)
            outcome = await self._judge(began, fleet.killed)
            await self._webhooks.aclose()
            return outcome

    async def _add(self, path: str) -> None:
        url = f"http://127.0.0.1:{refused_port()}/" if path.startswith("refused") else self._receiver.url(path)
        added = await self._webhooks.endpoints.add("acme", url, ["order.updated"], most=1000)
        if added is None:
            raise RuntimeError("no more endpoints")
        await self._webhooks.endpoints.enable(added[0])
        self._receiver.keys[path] = Verifier([added[1]])
        self._receiver.first[path] = {}

    async def _warm_up(self) -> None:
        """Until a dispatcher is at work: how long a process takes to start is not what is measured."""
        async with self._webhooks.engine.begin() as connection:
            await self._tell(self._webhooks, WARM, connection)
        while not all(WARM in self._receiver.first[path] for path in self._reachable()):
            await asyncio.sleep(0.05)
        for path in self._reachable():
            del self._receiver.first[path][WARM]

    async def _publish(self) -> None:
        for start in range(0, self._count, TOGETHER):
            ids = [f"evt-{number}" for number in range(start, min(start + TOGETHER, self._count))]
            while True:
                try:
                    async with self._webhooks.engine.begin() as connection:
                        for event in ids:
                            await self._tell(self._webhooks, event, connection)
                    break
                except Exception:  # noqa: BLE001 - the store is being restarted: told again, under the same ids
                    await asyncio.sleep(0.2)
            self._published.update(dict.fromkeys(ids, time.monotonic()))

    async def _tell(self, webhooks: Webhooks, event: str, connection: Any) -> None:
        await webhooks.publish("order.updated", Order(id=event), to="acme", event_id=event, connection=connection)

    async def _chaos(self, fleet: Fleet) -> None:
        loop = asyncio.get_running_loop()
        restarted = self._server is None
        while fleet.killed < self._most_kills:
            await asyncio.sleep(self._kill_every * random.uniform(0.5, 1.5))
            await loop.run_in_executor(None, fleet.kill)
            if not restarted and self._server is not None and self._receiver.seen:
                restarted = True
                await loop.run_in_executor(None, self._server.kill)
                await loop.run_in_executor(None, self._server.restart)

    def _arrived(self) -> bool:
        return all(len(self._receiver.first[path].keys() - {WARM}) >= self._count for path in self._reachable())

    def _reachable(self) -> list[str]:
        return [path for path in self._receiver.first if not path.startswith(HOPELESS)]

    async def _number(self, condition: str) -> int:
        with suppress(Exception):
            async with self._webhooks.engine.connect() as connection:
                query = f"SELECT count(*) FROM bff_webhook_deliveries WHERE {condition}"  # noqa: S608 - constants
                return int((await connection.execute(text(query))).scalar_one())
        return -1

    async def _judge(self, began: float, killed: int) -> Outcome:
        faults = []
        first = self._receiver.first
        expected = set(self._published)
        for path in self._reachable():
            first[path].pop(WARM, None)  # which may have come again
        faults += [f"{path} did not get each event once" for path in self._reachable() if set(first[path]) != expected]
        dead = await self._number("state = 'dead'")
        hopeless = [kind for kind in self._kinds if kind in HOPELESS]
        if hopeless and dead <= 0:
            faults.append("nothing is in the dead letter")
        if await self._number("state = 'delivered'") != (len(expected) + 1) * len(self._reachable()):
            faults.append("the database does not say that everything was delivered")
        healthy = [path for path in first if path.startswith("healthy")]
        delays = [at - self._published[event] for path in healthy for event, at in first[path].items()]
        ended = max(at for path in healthy for at in first[path].values())
        unique = sum(len(found) for found in first.values())
        return Outcome(
            self._name, sum(len(first[path]) for path in healthy), self._receiver.accepted - unique,
            self._receiver.seen, ended - began, delays, killed, dead, faults,
        )  # fmt: skip


def endpoints(count: int) -> list[str]:
    """So many kinds of endpoint: one in five is none of the healthy."""
    bad = [BAD[number % len(BAD)] for number in range(max(len(BAD), count // 5))]
    return ["healthy"] * (count - len(bad)) + bad


async def soak(store: str, events: int, count: int, dispatchers: int) -> tuple[Outcome, Outcome]:
    """A run with the healthy endpoints alone, and one with all of them, each on an empty store."""
    kinds = endpoints(count)
    runs = []
    for name, some in (("healthy alone", [kind for kind in kinds if kind == "healthy"]), ("all", kinds)):
        server = PostgresProcess() if store == "postgresql" else None
        try:
            with tempfile.TemporaryDirectory() as folder:
                url = f"sqlite:///{folder}/webhooks.db" if server is None else server.url
                runs.append(await Soak(f"{store}, {name}", url, some, events, dispatchers, server).run())
        finally:
            if server is not None:
                server.close()
    return runs[0], runs[1]


def show(runs: list[Outcome]) -> None:
    """The table."""
    table = Table("run", "deliveries", "a second", "delay mean", "p99", "came twice", "attempts", "dead", "kills")
    for run in runs:
        p99 = statistics.quantiles(run.delays, n=100)[98]
        rate = run.deliveries / run.seconds
        row = (f"{run.deliveries:,}", f"{rate:,.0f}", f"{run.mean:.2f} s", f"{p99:.2f} s", str(run.repeated))
        table.add_row(run.name, *row, f"{run.attempts:,}", f"{run.dead:,}", str(run.killed))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--endpoints", type=int, default=50)
    parser.add_argument("--dispatchers", type=int, default=2)
    parser.add_argument("--store", choices=("sqlite", "postgresql"), action="append")
    given = parser.parse_args()
    faults: list[str] = []
    runs: list[Outcome] = []
    for store in given.store or ("sqlite", "postgresql"):
        alone, all_ = uvloop.run(soak(store, given.events, given.endpoints, given.dispatchers))
        runs += [alone, all_]
        ratio = all_.mean / alone.mean
        console.print(f"{store}: the delay of healthy endpoints is {ratio:.2f} times that without the others")
        faults += [f"{run.name}: {fault}" for run in (alone, all_) for fault in run.faults]
        if ratio > MOST_RATIO:
            faults.append(f"{store}: healthy endpoints waited {ratio:.2f} times as long")
    show(runs)
    for fault in faults:
        console.print(f"[red]{fault}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
