"""What is remembered about credentials: bounded, in time, asked for once."""

from __future__ import annotations

import asyncio
import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core import Problem
from bff_core.auth import expiring
from bff_core.auth.authorizer import identity_key
from bff_core.auth.expiring import ExpiringMap, Shared

from .issuer import Clock

STEPS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5), st.booleans()), max_size=40)


@given(STEPS, st.integers(1, 4))
def test_against_a_model(steps: list[tuple[str, int, bool]], size: int) -> None:
    """It never gives what is over or was never put, nor holds more than its size; nothing is lost without need."""
    kept: ExpiringMap[int] = ExpiringMap(size)
    model: dict[bytes, tuple[int, int]] = {}
    for now, (name, lasts, put) in enumerate(steps):
        key = name.encode()
        if put:
            kept.put(key, now, now + lasts)
            model.pop(key, None)
            model[key] = (now + lasts, now)
        found = kept.get(key, now)
        alive = key in model and model[key][0] > now
        assert found == (model[key][1] if alive and found is not None else None)
        if alive and list(model).index(key) >= len(model) - size:
            assert found is not None
        assert len(kept) <= size


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_identities_are_told_apart(one: list[bytes], other: list[bytes]) -> None:
    """However parts are cut."""
    assert (identity_key(*one) == identity_key(*other)) is (one == other)


class Source:
    """Answers when told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None
        self.good = True

    async def __call__(self) -> tuple[str, float, bool]:
        self.asked += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return f"answer {self.asked}", 10.0, self.good


async def test_single_flight_and_time() -> None:
    """One question however many wait; asked anew when its time is over."""
    clock, source = Clock(0.0), Source()
    shared: Shared[str] = Shared(4, clock=clock)
    waiting = [asyncio.create_task(shared.get(b"k", source)) for _ in range(50)]
    await asyncio.sleep(0)
    waiting.pop(0).cancel()
    source.gate.set()
    assert set(await asyncio.gather(*waiting)) == {"answer 1"}
    clock.now = 9.9
    assert await shared.get(b"k", source) == "answer 1"
    clock.now = 10.0
    assert await shared.get(b"k", source) == "answer 2"


async def test_failures_are_told_and_not_kept() -> None:
    """To all who wait; the next one asks again. Nobody left to hear of it is no error."""
    source = Source()
    shared: Shared[str] = Shared(4)
    source.error = Problem(503)
    waiting = [asyncio.create_task(shared.get(b"k", source)) for _ in range(3)]
    await asyncio.sleep(0)
    source.gate.set()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in told] == [Problem] * 3
    source.error = None
    assert await shared.get(b"k", source) == "answer 2"
    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    source.error, source.gate = Problem(503), asyncio.Event()
    left = asyncio.create_task(shared.get(b"other", source))
    await asyncio.sleep(0)
    left.cancel()
    source.gate.set()
    await asyncio.gather(left, return_exceptions=True)
    while shared._under_way:
        await asyncio.sleep(0)
    gc.collect()
    assert unheard == []


async def test_a_flood_of_bad_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """It pushes no good one out, is bounded, and when too many questions are under way there is a 503 at once."""
    source = Source()
    source.gate.set()
    shared: Shared[str] = Shared(4)
    await shared.get(b"good", source)
    source.good = False
    for number in range(100):
        await shared.get(b"bad %d" % number, source)
    assert shared.known(b"good") == "answer 1"
    assert (len(shared._good), len(shared._bad)) == (1, 4)
    monkeypatch.setattr(expiring, "MAX_UNDER_WAY", 2)
    source.gate = asyncio.Event()
    waiting = [asyncio.create_task(shared.get(b"slow %d" % number, source)) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Problem) as refused:
        await shared.get(b"one more", source)
    assert refused.value.status == 503
    await shared.aclose()
    await asyncio.gather(*waiting, return_exceptions=True)
