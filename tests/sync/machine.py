"""Several devices, two replicas, one shop, and bad luck: a state machine that must converge. Run by the tests in small,
and by ``python -m bench.sync_soak`` for long."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
from collections.abc import Coroutine
from typing import Any

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from .conftest import Clock, make_app
from .device import Device
from .shop import Shop
from .stores import MemoryStore

__all__ = ["SyncMachine"]


class Crash(BaseException):
    """The gateway is killed."""


DEVICES = (("u1", "a"), ("u1", "b"), ("u2", "c"))
device_indices = st.integers(0, len(DEVICES) - 1)
note_names = st.integers(0, 40).map(lambda number: f"n{number}")
users = st.sampled_from(["u1", "u2"])


class SyncMachine(RuleBasedStateMachine):
    """Every rule but the last kind breaks something; ``converge`` puts it right and looks."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.shop, self.store, self.clock = Shop(), MemoryStore(), Clock()
        self.store.crash = Crash
        self.keys = [self._key(0)]
        self.count = 0
        self.sent: dict[str, tuple[int, int, str, str]] = {}
        self.https: list[httpx.AsyncClient] = []
        self._start()
        self.devices = [Device(self.https[0], user, name) for user, name in DEVICES]
        self.partial = [False] * len(DEVICES)
        self.lied_to = [False] * len(DEVICES)
        self.under_way = [False] * len(DEVICES)
        self.skipped = [False] * len(DEVICES)

    # What happens.

    @initialize(counts=st.tuples(st.integers(0, 50), st.integers(0, 30)))
    def fill(self, counts: tuple[int, int]) -> None:
        for user, count in zip(("u1", "u2"), counts, strict=True):
            self.shop.fill(user, count)

    @rule(user=users, name=note_names, text=st.sampled_from(["x", "y", "z"]))
    def shop_writes(self, user: str, name: str, text: str) -> None:
        self.shop.put(user, name, text)

    @rule(user=users, count=st.integers(1, 15))
    def shop_deletes(self, user: str, count: int) -> None:
        notes = self.shop.notes.get(user, {})
        for name in list(notes)[:count]:
            del notes[name]
        self._moved(user)

    @rule(which=device_indices, pick=st.integers(0, 1000), op=st.sampled_from(["append", "append", "add", "bad"]))
    def mutate(self, which: int, pick: int, op: str) -> None:
        device = self.devices[which]
        names = sorted(device.data.get("notes", {})) or ["n0"]
        name = names[pick % len(names)]
        self.count += 1
        mark = f"<{self.count}>"
        if op == "add":
            id_ = device.mutate("note.add", note={"text": mark})
        elif op == "bad":
            id_ = device.mutate("note.append", note_id=name)
        else:
            known = device.data.get("notes", {}).get(name, {}).get("_v")
            version = known if pick % 2 else None
            id_ = device.mutate("note.append", note_id=name, text={"text": mark}, if_version=version)
        self.sent[id_] = which, device.seq, name, mark

    @rule(which=device_indices, limit=st.sampled_from([3, 10, 500]), times=st.integers(1, 3))
    def sync(self, which: int, limit: int, times: int) -> None:
        self.devices[which].limit = limit
        for _ in range(times):
            self._exchange(which)

    @rule(which=device_indices, times=st.integers(1, 10))
    def answer_lost(self, which: int, times: int) -> None:
        for _ in range(times):
            self._run(self.devices[which].post())

    @rule(which=device_indices, at=st.integers(0, 15), lost=st.booleans())
    def gateway_killed(self, which: int, at: int, lost: bool) -> None:
        self.store.fail_at, self.store.lost = at, lost
        with contextlib.suppress(Crash):
            self._run(self.devices[which].post())
        self.store.fail_at = None
        self.store.expire("lease:")
        self.store.expire("item:")
        self._start()

    @rule(
        which=device_indices,
        skip=st.integers(0, 4),
        kind=st.sampled_from(["500", "503", "late", "cut", "lost", "empty", "short", "shift"]),
    )
    def service_fails(self, which: int, skip: int, kind: str) -> None:
        left = [skip]

        def now(_: httpx.Request) -> bool:
            left[0] -= 1
            return left[0] < 0

        answers: dict[str, Any] = {
            "500": httpx.Response(500),
            "503": httpx.Response(503),
            "late": httpx.ReadTimeout("late"),
            "cut": httpx.Response(200, content=b'{"items": [{'),
            "empty": httpx.Response(200, json={"items": [], "next": None}),
            "short": httpx.Response(200, json={"items": [{"id": "n1", "text": "x"}], "next": None}),
        }
        if kind == "lost":
            self.shop.after = lambda request: httpx.ReadError("lost") if now(request) else None
        elif kind == "shift":
            self.shop.before = lambda request: self._shift(self.devices[which].user) if now(request) else None
        elif kind in ("cut", "empty", "short"):  # a service's own 200 to a write says that it was done
            self.shop.before = lambda request: answers[kind] if request.method == "GET" and now(request) else None
        else:
            self.shop.before = lambda request: answers[kind] if now(request) else None
        # The same lie twice in a row is believed: it is what a deletion looks like.
        keeps = kind not in ("shift", "short") and not (kind == "empty" and self.lied_to[which])
        self._exchange(which, keeps=keeps, shows=kind not in ("short", "empty"))
        self.lied_to[which] |= kind == "empty"
        self.shop.before = self.shop.after = lambda _: None

    @rule(which=device_indices, have=st.booleans())
    def token_lost(self, which: int, have: bool) -> None:
        self.devices[which].token = None
        self.devices[which].have = have and not self.partial[which]

    @rule(which=device_indices, place=st.integers(0, 91))
    def token_tampered(self, which: int, place: int) -> None:
        token = self.devices[which].token
        if token is not None:
            self.devices[which].token = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]

    @rule()
    def views_expire(self) -> None:
        self.store.expire("state:")

    @rule()
    def rotate_keys(self) -> None:
        self.keys = [self._key(self.count + len(self.keys) + 1), self.keys[0]]
        self._start()

    @rule(seconds=st.sampled_from([30.0, 61.0, 86400.0, -86400.0]))
    def clock_jumps(self, seconds: float) -> None:
        self.clock.now += seconds

    # What must hold.

    @invariant()
    def effects_are_single_and_in_order(self) -> None:
        marks = [text for text in self.shop.effects if text.startswith("<")]
        assert len(marks) == len(set(marks)), "a mutation was done twice"
        places = {mark: place for place, mark in enumerate(marks)}
        for which in range(len(DEVICES)):
            done = [(places[mark], seq) for by, seq, _, mark in self.sent.values() if by == which and mark in places]
            assert [seq for _, seq in sorted(done)] == sorted(seq for _, seq in done), "out of order"

    def teardown(self) -> None:
        try:
            self.converge()
        finally:
            self.loop.close()

    def converge(self) -> None:
        """Nothing breaks any more: after a while everybody has what the shop has, and every mutation its end."""
        self.store.expire("lease:")
        self.store.expire("item:")
        for _ in range(8):
            # Some wait for their doubts to be confirmed, and all once more for what the others did.
            self.clock.now += 61
            for which, device in enumerate(self.devices):
                device.limit = 500
                for _ in range(60):
                    if not self._exchange(which)["more"]:
                        break
        for device in self.devices:
            assert device.texts() == self.shop.texts(device.user)
            assert device.outbox == []
            assert device.ack == device.seq
            for id_, result in device.final.items():
                mark = self.sent[id_][3]
                if result["status"] == "applied":
                    assert mark in self.shop.effects, "told that it was done, but it was not"
                elif result["status"] != "unknown":
                    assert mark not in self.shop.effects, f"told that it was not done, but it was: {result}"

    # How.

    def _exchange(self, which: int, *, keeps: bool = True, shows: bool = True) -> dict[str, Any]:
        device = self.devices[which]
        self.skipped[which] &= self.under_way[which]
        before, acked = set(device.texts()), device.ack
        answer: dict[str, Any] = self._run(device.once())
        if any(part.get("reset") for part in answer["collections"].values()):
            self.partial[which] = True
        self.under_way[which] = answer["more"] or "stale" in answer
        there, texts = self.shop.texts(device.user), device.texts()
        if keeps and not self.partial[which]:
            assert before & set(there) <= set(texts), "deleted what is there"
        if not answer["more"] and "stale" not in answer:
            self.partial[which] = self.lied_to[which] = False
        if shows and not self.skipped[which]:
            self._see_own_writes(which, acked)
        return answer

    def _see_own_writes(self, which: int, acked: int) -> None:
        device = self.devices[which]
        there, texts = self.shop.texts(device.user), device.texts()
        for id_, (by, seq, _, mark) in self.sent.items():
            if by == which and acked < seq <= device.ack and device.final.get(id_, {}).get("status") == "applied":
                for name, text in there.items():
                    assert mark not in text or mark in texts.get(name, ""), "acknowledged before it can be seen"

    def _shift(self, user: str) -> None:
        notes = self.shop.notes.get(user, {})
        if notes:
            first = next(iter(notes))
            notes[first] = notes.pop(first)
        self._moved(user)

    def _moved(self, user: str) -> None:
        """Cursors are offsets: who reads the second page now is not shown what has moved to the first."""
        for which, (whose, _) in enumerate(DEVICES):
            self.skipped[which] |= whose == user

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def _start(self) -> None:
        """Two replicas; a device asks either."""
        self.https = []
        for _ in range(2):
            app, _sync = make_app(self.shop, self.store, self.clock, keys=self.keys)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            self.https.append(httpx.AsyncClient(transport=transport, base_url="http://bff.test"))
        for device in getattr(self, "devices", ()):
            device.http = self.https[device.seq % 2]

    @staticmethod
    def _key(seed: int) -> str:
        return base64.urlsafe_b64encode(random.Random(seed).randbytes(32)).decode()
