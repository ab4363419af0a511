"""The OpenFeature Remote Evaluation Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bff_core import AppLife, RateLimit
from bff_core.testing import FakeServices, bff_client

from .conftest import make_app, write

pytestmark = pytest.mark.anyio
FLAGS = "/ofrep/v1/evaluate/flags"
ANNA, BERTA = {"x-user": "anna"}, {"x-user": "berta"}


async def test_all_flags(services: FakeServices, file: Path) -> None:
    async with bff_client(make_app(services, AppLife(file))) as client:
        answer = await client.post(FLAGS, headers=ANNA, json={"context": {"targetingKey": "x", "plan": {"a": 1}}})
        assert answer.status_code == 200
        assert answer.json() == {
            "flags": [
                {"key": "most", "value": 99, "reason": "STATIC", "variant": "config"},
                {"key": "fast", "value": True, "reason": "TARGETING_MATCH", "variant": "on"},
                {"key": "half", "value": "B", "reason": "SPLIT", "variant": "b"},
            ]
        }
        assert answer.headers["cache-control"] == "private, no-store"


async def test_nothing_new_is_a_304(services: FakeServices, file: Path) -> None:
    life = AppLife(file)
    async with bff_client(make_app(services, life)) as client:
        tag = (await client.post(FLAGS, headers=ANNA, json={})).headers["etag"]
        again = await client.post(FLAGS, headers={**ANNA, "if-none-match": tag}, json={})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        other = await client.post(FLAGS, headers={**BERTA, "if-none-match": tag}, json={})
        assert other.status_code == 200, "hers are others"
        write(file, '{"config": {"most": 100}}')
        await life.refresh()
        changed = await client.post(FLAGS, headers={**ANNA, "if-none-match": tag}, json={})
        assert changed.json() == {"flags": [{"key": "most", "value": 100, "reason": "STATIC", "variant": "config"}]}


async def test_one_flag(services: FakeServices, file: Path) -> None:
    async with bff_client(make_app(services, AppLife(file))) as client:
        one = await client.post(f"{FLAGS}/fast", headers=ANNA, json={"context": {}})
        assert one.json() == {"key": "fast", "value": True, "reason": "TARGETING_MATCH", "variant": "on"}
        none = await client.post(f"{FLAGS}/nope", headers=ANNA, json={})
        assert none.status_code == 404
        assert (none.json()["key"], none.json()["errorCode"]) == ("nope", "FLAG_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "PARSE_ERROR"),
        (b"[]", 400, "INVALID_CONTEXT"),
        (b'{"context": []}', 400, "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": 1}}', 400, "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "%b"}}' % (b"x" * 300), 400, "INVALID_CONTEXT"),
        (b"", 200, None),
        (b'{"other": 1}', 200, None),
    ],
)
async def test_bodies(services: FakeServices, file: Path, body: bytes, status: int, code: str | None) -> None:
    async with bff_client(make_app(services, AppLife(file))) as client:
        answer = await client.post(FLAGS, headers={**ANNA, "content-type": "application/json"}, content=body)
        assert (answer.status_code, answer.json().get("errorCode")) == (status, code)
        assert (await client.post(FLAGS, headers=ANNA, content=body)).status_code == 415


async def test_whose_flags_they_are_is_not_the_clients_to_say(services: FakeServices, file: Path) -> None:
    """A principal is in its own share, whatever the context says; who is none has no attributes."""
    async with bff_client(make_app(services, AppLife(file))) as client:
        contexts: list[dict[str, Any]] = [{"targetingKey": f"k{number}"} for number in range(20)]
        found = [(await client.post(FLAGS, headers=ANNA, json={"context": one})).content for one in contexts]
        assert len(set(found)) == 1
        assert (await client.post(FLAGS, json={})).status_code == 401
    async with bff_client(make_app(services, AppLife(file), auth=None)) as client:
        shares = set()
        for one in contexts:
            answer = await client.post(FLAGS, json={"context": {**one, "subject": "anna"}})
            flags = {flag["key"]: flag["value"] for flag in answer.json()["flags"]}
            assert flags["fast"] is False
            shares.add(flags["half"])
        assert shares == {"A", "B"}


async def test_flags_are_under_the_gateways_limits(services: FakeServices, file: Path) -> None:
    limits = [RateLimit("calls", "2/minute", key="principal")]
    async with bff_client(make_app(services, AppLife(file), limits=limits)) as client:
        statuses = [(await client.post(FLAGS, headers=ANNA, json={})).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
