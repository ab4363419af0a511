"""What the check of a browser's session costs per request, in microseconds of this process's CPU time, and what a
hundred thousand sessions take in Valkey.

``python -m bench.sessions``: one request after the other on uvloop, over sixteen sessions, with a browser's headers.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import tempfile
import time
from typing import Any

import uvloop
from valkey import Valkey

from bff_core import OidcSessions
from bff_core.auth.sessions import Session, Tokens
from bff_core.stores import open_store
from tests.servers import ValkeyProcess

CALLS, ROUNDS, SESSIONS, MANY = 5000, 7, 16, 100_000
SITE = "https://shop.test"
HEADERS = {
    "host": "shop.test",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0",
    "accept": "application/json",
    "accept-encoding": "gzip, deflate, br, zstd",
    "accept-language": "de-DE,de;q=0.9,en;q=0.8",
    "referer": f"{SITE}/orders",
    "sec-ch-ua": '"Chromium";v="140", "Not.A/Brand";v="99"',
    "sec-ch-ua-mobile": "?0",
    "sec-fetch-site": "same-origin",
    "sec-fetch-mode": "cors",
    "sec-fetch-dest": "empty",
    "x-csrf": "1",
    "origin": SITE,
}


async def admit(_: object) -> None:
    """Anybody."""


def make(url: str, timeout: float = 10.0) -> OidcSessions:
    store = open_store(url, namespace="bench:sessions", timeout=timeout)
    sessions = OidcSessions(
        issuer="https://id.test",
        client_id="web",
        client_secret=secrets.token_hex(),
        base_url=SITE,
        store=store,
        keys=["k" * 32],
    )
    sessions.mount("bench", admit)
    return sessions


def a_session(user: str) -> Session:
    claims: dict[str, Any] = {"iss": "https://id.test", "sub": user, "aud": "web", "sid": secrets.token_hex(16)}
    claims |= {"name": "Ann Example", "email": "ann@example.test", "auth_time": 1, "amr": "pwd", "groups": "customers"}
    tokens = Tokens(secrets.token_urlsafe(600), 3600, secrets.token_urlsafe(48), None, frozenset({"openid", "orders"}))
    return Session.begin(claims, tokens, frozenset(), None, 8 * 3600, time.time())


def request(session_id: str, method: str) -> dict[str, Any]:
    cookie = f"theme=dark; consent=yes; __Host-Http-session={session_id}; lang=de"
    headers = [(name.encode(), value.encode()) for name, value in {**HEADERS, "cookie": cookie}.items()]
    return {"type": "http", "method": method, "path": "/api/home", "headers": headers}


async def measure(name: str, sessions: OidcSessions) -> None:
    ids = [await sessions.vault.create(a_session(f"u{number}"), None) for number in range(SESSIONS)]
    for method in ("GET", "POST"):
        scopes = [request(session_id, method) for session_id in ids]
        cpu = []
        for _ in range(ROUNDS):
            used = time.process_time()
            for number in range(CALLS):
                await sessions.authenticate(scopes[number % SESSIONS])
            cpu.append((time.process_time() - used) / CALLS * 1e6)
        print(f"{name:10} {method:5} {statistics.median(cpu):6.1f} µs CPU", flush=True)
    used = time.process_time()
    for number in range(CALLS):
        sessions.vault._known.clear()  # as on a replica that has not seen the session
        await sessions.authenticate(scopes[number % SESSIONS])
    print(f"{name:10} first {(time.process_time() - used) / CALLS * 1e6:6.1f} µs CPU", flush=True)
    await sessions.vault.store.aclose()


async def fill(server: ValkeyProcess) -> None:
    sessions = make(server.url)
    with Valkey(port=server.port) as client:
        before = client.info("memory")["used_memory"]
        for start in range(0, MANY, 100):
            users = [a_session(f"user-{number}") for number in range(start, start + 100)]
            await asyncio.gather(*(sessions.vault.create(user, secrets.token_hex(16)) for user in users))
        used = client.info("memory")["used_memory"] - before
        keys = client.dbsize()
    size = len(users[-1].dump())
    print(f"{MANY} sessions of {size} bytes in Valkey: {used / MANY:.0f} bytes each, {keys / MANY:.1f} keys each")
    await sessions.vault.store.aclose()


async def main() -> None:
    await measure("memory", make("memory://"))
    with tempfile.TemporaryDirectory() as folder:
        await measure("sqlite", make(f"sqlite:///{folder}/s.db"))
    server = ValkeyProcess()
    try:
        await measure("valkey", make(server.url))
        await fill(server)
    finally:
        server.close()


if __name__ == "__main__":
    uvloop.run(main())
