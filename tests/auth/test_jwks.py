"""An issuer's keys: rotation, cool-down, outages, floods, and what is published that we cannot use."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from joserfc.jws import JWSRegistry

from bff_core import Problem
from bff_core.auth.ask import Asked
from bff_core.auth.jwks import COOLDOWN, TTL, JwksCache

from .issuer import KEYS, Clock, Issuer, ask, bearer, reason

RS256 = JWSRegistry.algorithms["RS256"]


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def changes() -> list[int]:
    return []


@pytest.fixture
def cache(issuer: Issuer, clock: Clock, changes: list[int]) -> JwksCache:
    asked = Asked("https://issuer.test/jwks?x=1", httpx.MockTransport(issuer.answer))
    return JwksCache(asked, lambda: changes.append(1), clock=clock)


async def settled(cache: JwksCache) -> None:
    """Let a renewal in the background end."""
    while cache._renewal is not None:
        await asyncio.sleep(0)


async def test_rotation(cache: JwksCache, issuer: Issuer, clock: Clock, changes: list[int]) -> None:
    """A key that is not known makes the keys be fetched, once in the cool-down; an old one is good until it goes."""
    assert await cache.find("k1", RS256)
    issuer.keys.insert(0, KEYS["k2"])
    clock.now += COOLDOWN - 1
    assert await cache.find("k2", RS256) is None
    assert issuer.asked == 1
    clock.now += 1
    assert await cache.find("k2", RS256)
    assert await cache.find("k1", RS256)
    assert issuer.asked == 2
    issuer.keys.pop()
    clock.now += TTL
    assert await cache.find("k1", RS256), "renewed in the background: nobody waits"
    await settled(cache)
    assert await cache.find("k1", RS256) is None
    assert len(changes) == 3


async def test_rotation_in_mid_flight(cache: JwksCache, issuer: Issuer, clock: Clock) -> None:
    """A hundred requests with tokens of a new key, at once: one look, all of them served."""
    assert await cache.find("k1", RS256)
    issuer.keys = [KEYS["k2"]]
    clock.now += COOLDOWN
    found = await asyncio.gather(*(cache.find("k2", RS256) for _ in range(100)))
    assert all(found)
    assert issuer.asked == 2


async def test_a_flood_of_unknown_keys(cache: JwksCache, issuer: Issuer, clock: Clock) -> None:
    """Ten thousand invented ids in a minute cost four looks."""
    assert await cache.find("k1", RS256)
    for number in range(10_000):
        clock.now += 60 / 10_000
        assert await cache.find(f"invented-{number}", RS256) is None
    assert issuer.asked <= 1 + 60 / COOLDOWN


async def test_the_issuer_is_down(cache: JwksCache, issuer: Issuer, clock: Clock) -> None:
    """Before its keys are known nobody can be told from anybody: 503, and one look a second. Afterwards the known keys
    go on being used, and a key that may be new is a 503 too: nobody is signed out by an outage."""
    issuer.down = True
    for _ in range(10):
        with pytest.raises(Problem) as refused:
            await cache.find("k1", RS256)
        assert (refused.value.status, refused.value.headers["retry-after"]) == (503, "1")
    assert issuer.asked == 1
    issuer.down = False
    clock.now += 1
    assert await cache.find("k1", RS256)
    issuer.down = True
    clock.now += TTL * 100
    for _ in range(10):
        assert await cache.find("k1", RS256)
        await settled(cache)
    assert issuer.asked == 3
    for number in range(10):
        with pytest.raises(Problem) as refused:
            await cache.find(f"new-{number}", RS256)
        assert refused.value.status == 503
    assert issuer.asked == 3
    issuer.down = False
    clock.now += COOLDOWN
    assert await cache.find("new", RS256) is None
    assert issuer.asked == 4


async def test_who_leaves_does_not_stop_the_others(cache: JwksCache, issuer: Issuer) -> None:
    """The first one to wait is cancelled: the look goes on for those behind."""
    waiting = [asyncio.create_task(cache.find("k1", RS256)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    assert all(await asyncio.gather(*waiting[1:]))
    assert issuer.asked == 1


@pytest.mark.parametrize(
    "published",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"keys": {}}),
        httpx.Response(200, json={"keys": []}),
        httpx.Response(200, json={"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}]}),
        httpx.Response(200, json={"keys": [{**KEYS["k1"].as_dict(private=False), "use": "enc"}]}),
        httpx.Response(200, text="[" * 100_000),
        httpx.Response(302, headers={"location": "https://evil.test/jwks"}),
        httpx.Response(404),
    ],
)
async def test_answers_that_are_no_keys(
    cache: JwksCache, issuer: Issuer, clock: Clock, published: httpx.Response
) -> None:
    """They count as none, and do not displace the keys that are known."""
    issuer.published = published
    with pytest.raises(Problem):
        await cache.find("k1", RS256)
    issuer.published = None
    clock.now += 1
    assert await cache.find("k1", RS256)
    issuer.published = published
    clock.now += TTL
    await cache.find("k1", RS256)
    await settled(cache)
    assert await cache.find("k1", RS256)


async def test_unusable_keys_do_not_spoil_the_others(cache: JwksCache, issuer: Issuer) -> None:
    """Unknown kinds, broken, short and symmetric ones are passed over (RFC 7517 section 5)."""
    good = KEYS["k1"].as_dict(private=False)
    short = {"kty": "RSA", "n": "y" * 100, "e": "AQAB", "kid": "short"}
    bad = [None, {}, {"kty": "PQC"}, {"kty": "RSA", "kid": "broken"}, short, {"kty": "oct", "k": "AA", "kid": "k1"}]
    bad += [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, {**good, "key_ops": ["encrypt"], "kid": "k3"}]
    issuer.published = httpx.Response(200, json={"keys": [*bad, good]})
    assert await cache.find("k1", RS256)
    assert await cache.find("short", RS256) is None
    assert await cache.find("k3", RS256) is None


async def test_a_withdrawn_key_ends_what_it_signed(issuer: Issuer) -> None:
    """Remembered tokens are forgotten when the issuer publishes other keys."""
    auth, clock = bearer(issuer), Clock(0.0)
    auth._jwks._clock = clock
    token = issuer.token()
    assert await reason(auth, token) == ""
    issuer.keys = [KEYS["k2"]]
    clock.now = COOLDOWN
    assert await ask(auth, issuer.token())
    assert await reason(auth, token) == "unknown_key"
