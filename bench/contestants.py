"""The peers: how each is installed and started. What cannot be installed here is skipped, and why is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .krakend import krakend_configuration
from .lab import Server, free_port
from .upstream import proxy_configuration

__all__ = ["PEERS", "Place", "install", "open_load", "start"]

ROOT = Path(__file__).parents[1]
BUILT = ROOT / ".bench"
PYTHON_PEERS = ["aiohttp>=3.13", "aiocache>=0.12", "pydantic-resolve>=5", "hishel>=1", "anysqlite>=0.0.5"]
PEERS = (
    "ours",
    "fastapi_httpx",
    "fastapi_aiohttp",
    "pydantic_resolve",
    "fastify_undici",
    "fastify_fetch",
    "krakend",
    "nginx_proxy",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a round happens: a scratch folder, the upstream's URL, and whether caching is on."""

    folder: Path
    upstream: str
    cache: bool = False


def install(say: Callable[[str], None]) -> dict[str, str]:
    """Install what is missing; the peers that cannot be had here, and why."""
    BUILT.mkdir(exist_ok=True)
    skipped: dict[str, str] = {}
    if shutil.which("wrk") is None or shutil.which("nginx") is None:
        say("wrk and nginx (Debian packages)")
        _run(["apt-get", "install", "-y", "--no-install-recommends", "wrk", "nginx-light"])
    say("our wheel, compiled")
    if failed := _build_ours():
        skipped["ours"] = failed
    say("peers in Python")
    if failed := _run([sys.executable, "-m", "pip", "install", "--quiet", *PYTHON_PEERS]):
        skipped |= dict.fromkeys(("fastapi_aiohttp", "pydantic_resolve"), failed)
    say("Fastify and undici (npm)")
    if failed := _run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], ROOT / "bench/peers/fastify"):
        skipped |= dict.fromkeys(("fastify_undici", "fastify_fetch"), failed)
    say("KrakenD's engine (Go modules)")
    if failed := _run(["go", "build", "-o", str(BUILT / "krakend"), "."], ROOT / "bench/peers/krakend"):
        skipped["krakend"] = failed
    return skipped


def start(peer: str, place: Place) -> Server:
    """Start ``peer`` on the server's core; it may not answer yet."""
    port = free_port()
    environment = {"UPSTREAM": place.upstream, "PORT": str(port), "PYTHONPATH": str(ROOT)}
    environment |= {"CACHE": "1", "CACHE_FILE": str(place.folder / f"{peer}.db")} if place.cache else {"CACHE": ""}
    if peer == "ours":
        # The compiled wheel, not the folder beside it.
        environment["PYTHONPATH"] = f"{BUILT / 'site'}:{ROOT}"
    command = _COMMANDS[peer](port, place)
    return Server(command, port, environment, folder=place.folder, cwd=place.folder)


def _build_ours() -> str | None:
    source = BUILT / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", ".bench", "node_modules", ".*_cache"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(BUILT / "wheel"), "."]
    shutil.rmtree(BUILT / "wheel", ignore_errors=True)
    if failed := _run(build, source, {"HATCH_BUILD_HOOKS_ENABLE": "1"}):
        return failed
    wheel = next((BUILT / "wheel").glob("*.whl"))
    shutil.rmtree(BUILT / "site", ignore_errors=True)
    return _run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(BUILT / "site"), str(wheel)]
    )


def _run(command: list[str], folder: Path = ROOT, environment: Mapping[str, str] | None = None) -> str | None:
    """Run it; why it failed, or None."""
    program = shutil.which(command[0])
    if program is None:
        return f"there is no {command[0]} here"
    done = subprocess.run(  # noqa: S603 - the commands above
        [program, *command[1:]],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return None
    lines = (done.stderr or done.stdout).strip().splitlines() or ["?"]
    return f"{' '.join(command[:3])} failed: {lines[-1][:200]}"


def _uvicorn(module: str) -> Callable[[int, Place], list[str | Path]]:
    return lambda port, _: [
        sys.executable, "-m", "uvicorn", f"bench.peers.{module}:app", "--port", str(port), "--no-access-log",
        "--log-level", "warning",
    ]  # fmt: skip


def _node(file: str) -> Callable[[int, Place], list[str | Path]]:
    return lambda _port, _place: ["node", ROOT / f"bench/peers/fastify/{file}"]


def _nginx(port: int, place: Place) -> list[str | Path]:
    file = proxy_configuration(place.folder, port, place.upstream, cache=place.cache)
    return ["nginx", "-c", file, "-p", place.folder, "-e", place.folder / "proxy-start.log"]


_COMMANDS: dict[str, Callable[[int, Place], list[str | Path]]] = {
    "ours": lambda port, _: [
        sys.executable,
        "-m",
        "bff_core.cli",
        "serve",
        "bench.peers.ours:app",
        "--port",
        str(port),
    ],
    "fastapi_httpx": _uvicorn("fastapi_httpx"),
    "fastapi_aiohttp": _uvicorn("fastapi_aiohttp"),
    "pydantic_resolve": _uvicorn("resolve"),
    "fastify_undici": _node("undici.mjs"),
    "fastify_fetch": _node("fetch.mjs"),
    "krakend": lambda port, place: [BUILT / "krakend", krakend_configuration(place.folder, port, place.upstream)],
    "nginx_proxy": _nginx,
}


def open_load() -> Path | None:
    """The program that ``offer`` runs, if it can be built."""
    go = shutil.which("go")
    if go is None:
        return None
    program = BUILT / "offered"
    subprocess.run([go, "build", "-o", str(program), "."], cwd=ROOT / "bench/peers/offered", check=True)  # noqa: S603
    return program
