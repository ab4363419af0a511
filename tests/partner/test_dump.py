"""Whoever gets hold of the whole database has no key and no secret that can be used."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import subprocess
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from bff_core import StoredKeys
from bff_core.webhooks import Verifier
from tests.servers import PostgresProcess

from .replicas import PEPPER, keys_of, replicas


def dump_of(folder: Path, server: PostgresProcess | None) -> bytes:
    """Everything that is in it, as text and as bytes."""
    if server is None:
        return b"".join(file.read_bytes() for file in sorted(folder.glob("partner.db*")))
    tables = "SELECT format('COPY %I TO STDOUT', tablename) FROM pg_tables WHERE schemaname = 'public'"
    listed = psql(server, tables)
    assert b"bff_api_keys" in listed
    assert b"bff_webhook_secrets" in listed
    return b"".join(psql(server, line) for line in listed.decode().splitlines())


def psql(server: PostgresProcess, statement: str) -> bytes:
    command = [f"{server._bin}/psql", "-q", "-X", "-A", "-t", "-d", server.url, "-c", statement]
    return subprocess.run(command, check=True, capture_output=True, user=server._user, cwd="/").stdout


def forms(secret: str) -> list[bytes]:
    """What a secret could be written as: itself, without its prefix, its bytes, their hexadecimal digits, an unkeyed
    digest of it, which could be looked for among guesses."""
    bare = secret.rpartition("_")[2]
    found = [secret.encode(), bare.encode(), bare[:-6].encode()]
    with contextlib.suppress(ValueError):
        found.append(base64.b64decode(bare + "=" * (-len(bare) % 4)))
    found += [hashlib.sha256(each).digest() for each in (secret.encode(), bare.encode())]
    return [*found, *(each.hex().encode() for each in found)]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_nothing_in_it_can_be_used(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """After keys were issued and rotated, endpoints made and their secrets changed, and everything was used."""
    database, server = f"sqlite:///{tmp_path}/partner.db", None
    if kind == "postgresql":
        database = request.getfixturevalue("postgres_url")
        server = request.getfixturevalue("postgres_server")
    keys = asyncio.run(issued(database))
    secrets = []
    with replicas(1, database, tmp_path) as (gateway,):
        with httpx.Client(base_url=gateway.url, timeout=20) as client:
            for key in keys:
                headers = {"x-api-key": key, "idempotency-key": f"key-{key[-20:-12]}-once"}
                assert client.get("/usage", headers=headers).status_code == 200
                assert client.post("/exports", json={}, headers=headers).status_code == 202
                for signature in ("v1", "v1a"):
                    body = {"url": "http://127.0.0.1:9/hooks", "types": ["*"], "signature": signature}
                    made = client.post("/webhooks/endpoints", json=body, headers=headers)
                    assert made.status_code == 201, made.text
                    changed = client.post(f"/webhooks/endpoints/{made.json()['id']}/rotate", json={}, headers=headers)
                    if signature == "v1":  # of v1a the public key is shown
                        secrets += [made.json()["secret"], changed.json()["secret"]]
        gateway.stop()
    assert all(Verifier([secret]) for secret in secrets)
    dump = dump_of(tmp_path, server)
    assert len(dump) > 2000
    assert b"acme" in dump
    for secret in (*keys, *secrets, PEPPER, "s" * 43):
        assert not [form for form in forms(secret) if form in dump], secret


async def issued(database: str) -> list[str]:
    """Two keys, the second the first one's successor."""
    keys: StoredKeys = keys_of(database)
    first, record = await keys.store.issue("acme", plan="internal")
    second, _ = await keys.store.rotate(record.id, grace=3600)
    await keys.aclose()
    return [first, second]


async def test_the_digests_are_of_no_use_without_the_pepper(tmp_path: Path) -> None:
    """With the database and another pepper, no key is known: so guesses cannot be tried either."""
    database = f"sqlite:///{tmp_path}/partner.db"
    (key, _) = await issued(database)
    other = StoredKeys(database, pepper=SecretStr("q" * 43))
    assert await other.store.find(key.encode()) is None
    await other.aclose()
    known = keys_of(database)
    assert await known.store.find(key.encode()) is not None
    await known.aclose()
