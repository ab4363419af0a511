"""The benchmark against the peers: ``python -m bench.compare [--seconds 4] [--rounds 5] [--only a,b]``.

Everything runs in one session, round by round and peer by peer, so that what the machine does meanwhile falls on all
of them alike: it is the ratios that count. Writes bench/results.json and docs/images/benchmark.svg.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from . import tables
from .chart import draw
from .contestants import PEERS, ROOT, Place, install, open_load, start
from .lab import LOAD_CORE, Measured, Server, free_port, load, offer
from .upstream import nginx_configuration

RESULTS = Path(__file__).parent / "results.json"
PAGE = "/products/p%d"
SECTIONS = (1, 2, 4, 8, 16, 32)
OVERLOAD = 3
console = Console()
Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Upstream:
    """The ports of the service behind everybody."""

    folder: Path
    plain: int
    cacheable: int
    flaky: int

    def place(self, kind: str = "plain") -> Place:
        """A place whose upstream is the port of this kind."""
        return Place(self.folder, f"http://127.0.0.1:{getattr(self, kind)}", cache=kind == "cacheable")


@dataclass(frozen=True, slots=True)
class Session:
    """How long is measured, and who cannot take part and why."""

    upstream: Upstream
    seconds: int
    rounds: int
    skipped: dict[str, str]


@contextmanager
def upstream() -> Iterator[Upstream]:
    """nginx and the slow service, on the load's core."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        plain, cacheable, flaky, slow = (free_port() for _ in range(4))
        file = nginx_configuration(folder, plain, cacheable, flaky, slow)
        nginx: list[str | Path] = ["nginx", "-c", file, "-p", folder, "-e", folder / "upstream-start.log"]
        lazy: list[str | Path] = [sys.executable, "-m", "bench.slow", str(slow), folder]
        servers = [
            Server(nginx, plain, {}, core=LOAD_CORE, folder=folder),
            Server(lazy, slow, {"PYTHONPATH": str(ROOT)}, core=LOAD_CORE, folder=folder),
        ]
        try:
            for server in servers:
                server.wait()
            yield Upstream(folder, plain, cacheable, flaky)
        finally:
            for server in servers:
                server.stop()


@contextmanager
def running(place: Place, peers: list[str]) -> Iterator[dict[str, Server]]:
    """The peers that start, by name."""
    servers: dict[str, Server] = {}
    try:
        for peer in peers:
            servers[peer] = start(peer, place)
            servers[peer].wait()
        yield servers
    finally:
        for server in servers.values():
            server.stop()


def document(server: Server) -> Any:
    """The page as one peer answers it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{PAGE % 1}", timeout=5) as answer:
        return json.load(answer)


def median(rounds: list[Measured]) -> dict[str, Any]:
    """The median of each figure."""
    names = [name for name in asdict(rounds[0]) if name != "errors"]
    row = {name: round(statistics.median(getattr(one, name) for one in rounds), 2) for name in names}
    if errors := sum(one.errors for one in rounds):
        row["errors"] = errors
    return row


def interleaved(session: Session, servers: dict[str, Server], *, keys: str, warm: int) -> Rows:
    """Measure all, a round each, again and again."""
    found: dict[str, list[Measured]] = {peer: [] for peer in servers}
    for server in servers.values():
        load(server, PAGE, warm, keys=keys, seed=99)
    for number in range(session.rounds):
        for peer, server in servers.items():
            found[peer].append(load(server, PAGE, session.seconds, keys=keys, seed=number + 1))
            console.print(f"  {peer:18} {found[peer][-1].cpu_us_per_page:9.1f} us", highlight=False)
    return {peer: median(rounds) for peer, rounds in found.items()}


def distinct(session: Session) -> Rows:
    """(a) Distinct keys, nothing shared."""
    peers = [peer for peer in PEERS if peer not in session.skipped]
    with running(session.upstream.place(), peers) as servers:
        documents = {peer: document(server) for peer, server in servers.items() if peer != "nginx_proxy"}
        different = [peer for peer, said in documents.items() if said != documents["ours"]]
        if different:
            raise SystemExit(f"not the same page: {', '.join(different)}")
        return interleaved(session, servers, keys="distinct", warm=2)


def zipf(session: Session) -> Rows:
    """(b) Zipf keys, with the caching that users of each would switch on."""
    peers = [peer for peer in PEERS if peer not in session.skipped]
    with running(session.upstream.place("cacheable"), peers) as servers:
        return interleaved(session, servers, keys="zipf", warm=15)


def sections(session: Session) -> Rows:
    """(c) Pages of 1 to 32 sections; what a further one costs."""
    rows: Rows = {}
    able = [peer for peer in ("ours", "fastapi_aiohttp", "fastify_undici") if peer not in session.skipped]
    with running(session.upstream.place(), able) as servers:
        cpu: dict[str, dict[int, list[float]]] = {peer: {count: [] for count in SECTIONS} for peer in servers}
        for number in range(session.rounds):
            for count in SECTIONS:
                for peer, server in list(servers.items()):
                    try:
                        one = load(server, f"/sections/{count}?id=%d", max(2, session.seconds // 2), seed=number + 1)
                    except SystemExit as error:
                        if peer == "ours":
                            raise
                        # A peer that answers with errors is no measure of anything.
                        rows[peer] = {"skipped": str(error).splitlines()[0]}
                        del cpu[peer]
                        servers.pop(peer).stop()
                        continue
                    cpu[peer][count].append(one.cpu_us_per_page)
        for peer, counts in cpu.items():
            cost = {count: round(statistics.median(values), 1) for count, values in counts.items()}
            steps = [(cost[b] - cost[a]) / (b - a) for a, b in itertools.pairwise(SECTIONS)]
            rows[peer] = {
                "cpu_us_by_sections": cost,
                "us_per_section": round((cost[32] - cost[1]) / 31, 1),
                "steps_us_per_section": [round(step, 1) for step in steps],
            }
    return rows


def tail(session: Session) -> Rows:
    """(d) One upstream answer of a hundred takes half a second: with and without hedging."""
    rows: Rows = {}
    program = open_load()

    def measured() -> dict[str, Any]:
        with running(session.upstream.place("flaky"), ["ours"]) as servers:
            server = servers["ours"]
            load(server, PAGE, 2)
            row = median([load(server, PAGE, session.seconds, seed=n) for n in range(session.rounds)])
            if program is not None:
                # wrk adds answers that nobody had, for the requests that it would have sent while it waited for one.
                told = offer(server, program, PAGE, row["pages_per_s"] / 2, 2 * session.seconds)
                row |= {name: told[name] for name in ("p50_ms", "p99_ms")}
            return row

    rows["ours"] = measured()
    os.environ["BFF_POLICY"] = '{"hedge": {"enabled": true, "delay": 0.05}}'
    try:
        rows["ours_hedged"] = measured()
    finally:
        del os.environ["BFF_POLICY"]
    return rows


def overload(session: Session) -> Rows:
    """(e) Three times the capacity offered, which is measured just before: what is served well, and how fast."""
    program = open_load()
    if program is None:
        return {peer: {"skipped": "the open-loop load is a Go program, and there is no Go here"} for peer in PEERS}
    rows: Rows = {}
    for peer in ("ours", "fastapi_aiohttp", "fastify_undici", "krakend"):
        if peer in session.skipped:
            continue
        runs: list[dict[str, Any]] = []
        with running(session.upstream.place(), [peer]) as servers:
            server = servers[peer]
            load(server, PAGE, 2)
            for number in range(session.rounds):
                capacity = load(server, PAGE, session.seconds, seed=number + 1).pages_per_s
                told = offer(server, program, PAGE, OVERLOAD * capacity, 2 * session.seconds)
                share = told["good_per_s"] / capacity
                runs.append(told | {"offered_per_s": OVERLOAD * capacity, "goodput_of_capacity": share})
        rows[peer] = {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}
    return rows


def streams(session: Session) -> Rows:
    """(f) Pass-through of 1 kB, 100 kB and 10 MB: memory must not follow."""
    rows: Rows = {}
    with running(session.upstream.place(), ["ours"]) as servers:
        server = servers["ours"]
        load(server, "/files/1?n=%d", 2)
        sizes: dict[str, Any] = {}
        before = server.rss_mb()
        for kilobytes in (1, 100, 10_240):
            one = load(server, f"/files/{kilobytes}?n=%d", session.seconds, connections=8)
            sizes[f"{kilobytes} kB"] = {
                "cpu_us": round(one.cpu_us_per_page, 1),
                "mb_per_s": round(one.pages_per_s * kilobytes / 1000, 1),
                "rss_mb": round(server.rss_mb(), 1),
            }
        rows["ours"] = {"rss_mb_before": round(before, 1), "sizes": sizes, "peak_mb": round(server.peak_mb(), 1)}
    return rows


def complete(rows: Rows, session: Session, why: str) -> Rows:
    """A row for every peer."""
    return rows | {peer: {"skipped": session.skipped.get(peer, why)} for peer in PEERS if peer not in rows}


def main() -> None:
    """Install, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="a,b,c,d,e,f")
    options = parser.parse_args()
    wanted = options.only.split(",")
    skipped = install(lambda what: console.print(f"== {what}", highlight=False))
    for peer, why in skipped.items():
        console.print(f"[yellow]skipped[/] {peer}: {why}")
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    with upstream() as behind:
        session = Session(behind, options.seconds, options.rounds, skipped)
        if "a" in wanted:
            results["a"] = complete(distinct(session), session, "not asked")
        scenarios: dict[str, Any] = {
            "b": (zipf, "not asked"),
            "c": (sections, "only ours, aiohttp and undici have pages of many sections here"),
            "d": (tail, "has no hedging"),
            "e": (overload, "not asked"),
            "f": (streams, "has no pass-through route here"),
        }
        for name, (measure, why) in scenarios.items():
            if name in wanted:
                console.print(f"== scenario {name}", highlight=False)
                results[name] = complete(measure(session), session, why)
    results["machine"] = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[1], 1),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": options.seconds,
        "rounds": options.rounds,
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    draw(results, ROOT / "docs" / "images" / "benchmark.svg")
    tables.write()
    for name in tables.SCENARIOS:
        if name in wanted:
            console.print(f"scenario {name}", Markdown(tables.table(name, results[name])))


if __name__ == "__main__":
    main()
