"""API keys in SQL: their life, and what is tried with them; on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from bff_core import (
    Page,
    Problem,
    Refused,
    Renamed,
    ServiceClient,
    Settings,
    SettingsError,
    StoredKeys,
    Version,
    Versions,
    create_bff,
    get,
    required,
    shape,
)
from bff_core.auth.key_form import KeyDigests
from bff_core.testing import FakeServices, bff_client
from bff_core.versions import VersionUsage
from tests.servers import PostgresProcess

from .issuer import scope_of

PEPPER = SecretStr("p" * 40)
Make = Callable[..., StoredKeys]


class Clock:
    """Unix time and monotonic time, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/keys.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def make(url: str, clock: Clock) -> AsyncIterator[Make]:
    """Replicas of a gateway, closed when the test is over."""
    made: list[StoredKeys] = []

    def replica(**options: Any) -> StoredKeys:
        values = {"pepper": PEPPER, "timeout": 20.0, "clock": clock, "monotonic": clock, **options}
        made.append(StoredKeys(url, **values))
        return made[-1]

    yield replica
    for keys in made:
        await keys.aclose()


@pytest.fixture
def keys(make: Make) -> StoredKeys:
    return make()


class Queries:
    """Counts what the database is asked."""

    def __init__(self, keys: StoredKeys) -> None:
        self.found = 0
        self.wrote = 0
        find, used = keys.store.find, keys.store.used

        async def counted_find(key: bytes) -> Any:
            self.found += 1
            return await find(key)

        async def counted_used(*arguments: Any) -> None:
            self.wrote += 1
            await used(*arguments)

        keys.store.find = counted_find  # type: ignore[method-assign]
        keys.store.used = counted_used  # type: ignore[method-assign, assignment]


async def reason(keys: StoredKeys, key: str) -> str:
    """Why it is refused, ``in`` when it is not."""
    try:
        await keys.authenticate(scope_of(("x-api-key", key)))
    except Refused as refused:
        said = (refused.status, str(refused))
        found = refused.reason
    else:
        return "in"
    assert said == (401, "Credentials are missing or not valid.")  # whatever the reason
    return found


async def test_issued_once_and_known_again(keys: StoredKeys) -> None:
    """With all that it stands for; by either header."""
    key, record = await keys.store.issue(
        "acme", tenant="acme-eu", name="ci", scopes=["b", "a"], plan="gold", version="2026-05-01", expires_in=60
    )
    for header in (("x-api-key", key), ("authorization", f"Bearer {key}")):
        principal = await keys.authenticate(scope_of(header))
        assert principal is not None
        assert (principal.subject, principal.kind, principal.tenant) == ("acme", "api_key", "acme-eu")
        assert principal.scopes == {"a", "b"}
        assert principal.claims == {"key_id": record.id, "plan": "gold", "api_version": "2026-05-01"}
    (listed,) = await keys.store.issued()
    assert listed == record
    assert listed.hint == key[:13]
    assert key not in repr(listed)
    assert await keys.authenticate(scope_of()) is None
    test_key, _ = await keys.store.issue("acme", environment="test")
    assert test_key.startswith("bff_test_")


async def test_several_keys_of_one_partner(keys: StoredKeys, clock: Clock) -> None:
    """All good, each on its own; another partner's are another's."""
    issued = []
    for name in ("one", "two"):
        clock.now += 1
        issued.append(await keys.store.issue("acme", name=name))
    other, _ = await keys.store.issue("bolt")
    await keys.store.revoke(issued[0][1].id)
    assert [await reason(keys, key) for key, _ in issued] == ["revoked_key", "in"]
    principal = await keys.authenticate(scope_of(("x-api-key", other)))
    assert principal is not None
    assert principal.subject == "bolt"
    assert [record.name for record in await keys.store.issued("acme")] == ["one", "two"]


async def test_a_wrong_checksum_costs_no_look_up(keys: StoredKeys) -> None:
    """Noise, typing errors, keys of other kinds, injections: refused by their form."""
    key, record = await keys.store.issue("acme")
    queries = Queries(keys)
    last = "0" if key[-1] != "0" else "1"
    noise = [
        key[:-1] + last,
        key[:-1],
        key + "0",
        key.upper(),
        key.replace("live", "test"),
        record.id,
        "' OR 1=1 --",
        "x" * 10_000,
        "bff_live_",
        "\x00",
    ]
    for each in noise:
        assert await reason(keys, each) == "key_form", each
    assert queries.found == 0


async def test_the_checksum_is_no_security(keys: StoredKeys) -> None:
    """A key of the right form that nobody issued is unknown."""
    from bff_core import new_api_key

    await keys.store.issue("acme")
    assert await reason(keys, new_api_key()) == "unknown_key"


async def test_two_keys_in_a_request_are_none(keys: StoredKeys) -> None:
    """Nobody can say which one counts."""
    key, _ = await keys.store.issue("acme")
    with pytest.raises(Refused) as refused:
        await keys.authenticate(scope_of(("x-api-key", key), ("authorization", f"Bearer {key}")))
    assert refused.value.reason == "duplicate_credentials"


async def test_expiry_is_in_force_at_once(keys: StoredKeys, clock: Clock) -> None:
    """Also for a key that is remembered."""
    key, _ = await keys.store.issue("acme", expires_in=2)
    assert await reason(keys, key) == "in"
    clock.now += 1.9
    assert await reason(keys, key) == "in"
    clock.now += 0.2
    assert await reason(keys, key) == "expired_key"


async def test_a_revocation_is_in_force_within_seconds_on_every_replica(make: Make, clock: Clock) -> None:
    """As long as a replica remembers, and no longer."""
    first, second = make(ttl=5), make(ttl=5)
    key, record = await first.store.issue("acme")
    assert [await reason(replica, key) for replica in (first, second)] == ["in", "in"]
    assert await first.store.revoke(record.id)
    assert not await first.store.revoke(record.id)
    assert not await first.store.revoke("key_nobodys")
    clock.now += 4.9
    assert await reason(second, key) == "in"
    clock.now += 0.2
    assert [await reason(replica, key) for replica in (first, second)] == ["revoked_key", "revoked_key"]


async def test_rotation_with_grace(keys: StoredKeys, clock: Clock) -> None:
    """Both are good for a while, then the new one; it is like the old one."""
    old, record = await keys.store.issue("acme", scopes=["a"], plan="gold", version="2026-05-01", name="ci")
    clock.now += 1
    new, after = await keys.store.rotate(record.id, grace=3600)
    assert (after.partner, after.scopes, after.plan, after.version, after.name) == (
        *("acme", frozenset({"a"}), "gold", "2026-05-01", "ci"),
    )
    assert [await reason(keys, key) for key in (old, new)] == ["in", "in"]
    clock.now += 3601
    assert [await reason(keys, key) for key in (old, new)] == ["expired_key", "in"]
    assert (await keys.store.issued())[0].replaced_by == after.id


async def test_an_early_end_of_the_grace(keys: StoredKeys, clock: Clock) -> None:
    """The old one is revoked in its grace; the new one is not concerned."""
    old, record = await keys.store.issue("acme")
    new, _ = await keys.store.rotate(record.id, grace=3600)
    await keys.store.revoke(record.id)
    assert [await reason(keys, key) for key in (old, new)] == ["revoked_key", "in"]


async def test_grace_prolongs_nothing(keys: StoredKeys, clock: Clock) -> None:
    """A key that would have ended sooner still does."""
    old, record = await keys.store.issue("acme", expires_in=10)
    await keys.store.rotate(record.id, grace=3600)
    clock.now += 11
    assert await reason(keys, old) == "expired_key"


async def test_what_is_not_in_force_is_not_rotated(keys: StoredKeys, clock: Clock) -> None:
    """A revoked, expired or unknown key begets no new one, nor does one that was rotated."""
    _, revoked = await keys.store.issue("acme")
    await keys.store.revoke(revoked.id)
    _, expired = await keys.store.issue("acme", expires_in=1)
    clock.now += 2
    _, rotated = await keys.store.issue("acme")
    await keys.store.rotate(rotated.id, grace=60)
    for key_id in (revoked.id, expired.id, rotated.id, "key_nobodys"):
        with pytest.raises(LookupError):
            await keys.store.rotate(key_id, grace=60)
    assert len(await keys.store.issued()) == 4


async def test_of_two_that_rotate_at_once_one_succeeds(make: Make) -> None:
    """However many replicas and administrators."""
    replicas = [make() for _ in range(4)]
    _, record = await replicas[0].store.issue("acme")
    results = await asyncio.gather(
        *(replica.store.rotate(record.id, grace=60) for replica in replicas), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["LookupError"] * 3 + ["tuple"]
    assert len(await replicas[0].store.issued()) == 2


async def test_last_used_is_written_in_batches(keys: StoredKeys, clock: Clock) -> None:
    """Not per request: once for all keys, and a later instant of another replica stands."""
    issued = [await keys.store.issue(f"partner{number}") for number in range(3)]
    queries = Queries(keys)
    for _ in range(50):
        clock.now += 0.0625
        for key, _ in issued[:2]:
            assert await reason(keys, key) == "in"
    assert (queries.found, queries.wrote) == (2, 0)
    await keys.flush()
    await keys.flush()
    assert queries.wrote == 1
    assert [record.last_used_at for record in await keys.store.issued()] == [clock.now, clock.now, None]
    await keys.store.used({issued[0][1].id: clock.now - 100}, {})
    assert (await keys.store.issued())[0].last_used_at == clock.now


async def test_it_is_written_without_being_asked(make: Make) -> None:
    """Some time after a request, and when the gateway stops."""
    keys = make(flush=0.01)
    key, _ = await keys.store.issue("acme")
    assert await reason(keys, key) == "in"
    for _ in range(500):
        if (await keys.store.issued())[0].last_used_at is not None:
            break
        await asyncio.sleep(0.01)
    assert (await keys.store.issued())[0].last_used_at is not None
    other = make(flush=3600)
    second, _ = await other.store.issue("bolt")
    assert await reason(other, second) == "in"
    await other.aclose()
    assert all(record.last_used_at is not None for record in await keys.store.issued())


async def test_who_uses_which_version_adds_up_over_replicas(make: Make, clock: Clock) -> None:
    """Each writes only what is new."""
    total = []
    for number in (1, 2):
        usage = VersionUsage(clock=clock)
        keys = make(uses=usage)
        _, record = await keys.store.issue("acme")
        for _ in range(3):
            usage.count("2024-01-01", record.principal)
            await keys.flush()
        total.append(3)
        assert await keys.store.version_uses() == [("2024-01-01", "acme", sum(total), clock.now)]
        assert number == len(total)


async def test_many_at_once_ask_once(keys: StoredKeys) -> None:
    """A key that everybody uses is looked up for all of them together."""
    key, _ = await keys.store.issue("acme")
    queries = Queries(keys)
    assert await asyncio.gather(*(reason(keys, key) for _ in range(100))) == ["in"] * 100
    assert queries.found == 1


async def test_guesses_push_no_good_key_out(keys: StoredKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered is bounded, good and bad apart."""
    from bff_core import new_api_key

    key, _ = await keys.store.issue("acme")
    keys._found._good._size = keys._found._bad._size = 8
    assert await reason(keys, key) == "in"
    queries = Queries(keys)
    for _ in range(20):
        assert await reason(keys, new_api_key()) == "unknown_key"
    assert await reason(keys, key) == "in"
    assert queries.found == 20
    assert len(keys._found._bad) == 8


async def fail(*_: Any) -> Any:
    raise OSError("the database of PEPPER is down")


async def never(*_: Any) -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize("broken", [fail, never])
async def test_a_database_that_is_down_signs_nobody_out(make: Make, clock: Clock, broken: Any) -> None:
    """503, not 401, and nobody is let in by it; a key that is remembered goes on while it is."""
    keys = make(timeout=0.01)
    store_find = keys.store.find
    keys.timeout = 20.0
    key, _ = await keys.store.issue("acme")
    assert await reason(keys, key) == "in"
    keys.timeout = 0.01
    keys.store.find = broken  # type: ignore[method-assign]
    assert await reason(keys, key) == "in"
    clock.now += 6
    with pytest.raises(Problem) as problem:
        await reason(keys, key)
    assert problem.value.status == 503
    assert "PEPPER" not in str(problem.value)
    keys.timeout = 20.0
    keys.store.find = store_find  # type: ignore[method-assign]
    assert await reason(keys, key) == "in"


async def test_an_outage_may_be_bridged(make: Make, clock: Clock) -> None:
    """For so many seconds, for who was good; not for who was revoked, nor for who was never seen."""
    keys = make(outage=60)
    key, _ = await keys.store.issue("acme")
    gone, record = await keys.store.issue("bolt")
    new, _ = await keys.store.issue("new")
    assert [await reason(keys, each) for each in (key, gone)] == ["in", "in"]
    await keys.store.revoke(record.id)
    clock.now += 6
    assert [await reason(keys, each) for each in (key, gone)] == ["in", "revoked_key"]
    keys.store.find = fail  # type: ignore[method-assign, assignment]
    clock.now += 50
    assert await reason(keys, key) == "in"
    for each in (gone, new):
        with pytest.raises(Problem):
            await reason(keys, each)
    clock.now += 11
    with pytest.raises(Problem):
        await reason(keys, key)


async def test_what_could_not_be_noted_is_noted_later(keys: StoredKeys, clock: Clock) -> None:
    """A database that is down costs no request and loses no instant."""
    key, _ = await keys.store.issue("acme")
    assert await reason(keys, key) == "in"
    used, keys.store.used = keys.store.used, fail  # type: ignore[method-assign, assignment]
    await keys.flush()
    keys.store.used = used  # type: ignore[method-assign]
    await keys.flush()
    assert (await keys.store.issued())[0].last_used_at == clock.now


def dump(url: str, request: pytest.FixtureRequest) -> bytes:
    """All that somebody who steals the database has."""
    if url.startswith("sqlite"):
        folder = Path(url.removeprefix("sqlite:///")).parent
        return b"".join(file.read_bytes() for file in folder.iterdir())
    server: PostgresProcess = request.getfixturevalue("postgres_server")
    command = [f"{server._bin}/pg_dump", "-d", server.url]
    return subprocess.run(command, check=True, capture_output=True, user=server._user, cwd=server._home).stdout


async def test_a_dump_holds_no_usable_key(
    keys: StoredKeys, url: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """Not the key, not a digest that could be tried without the pepper, not the pepper; nor do the logs."""
    caplog.set_level(logging.DEBUG)
    first, record = await keys.store.issue("acme", name="ci")
    second, _ = await keys.store.rotate(record.id, grace=60)
    assert [await reason(keys, key) for key in (first, second)] == ["in", "in"]
    await keys.flush()
    stolen = dump(url, request)
    assert b"acme" in stolen  # it is all there

    def held(secret: bytes) -> bool:
        return secret in stolen or secret.hex().encode() in stolen

    for key in (first, second):
        secret = key.encode()
        assert held(hmac.digest(PEPPER.get_secret_value().encode(), secret, "sha256"))
        assert not held(secret)
        assert not held(secret[13:-6])  # what is left of it without its open beginning
        assert not held(hashlib.sha256(secret).digest())
        assert key not in caplog.text
    assert not held(PEPPER.get_secret_value().encode())
    # What the dump does hold opens nothing.
    (row, _) = await keys.store.issued()
    for text in (row.id, row.hint, hmac.digest(b"p" * 40, first.encode(), "sha256").hex()):
        assert await reason(keys, text) == "key_form"


async def test_under_another_pepper_no_key_is_known(make: Make) -> None:
    """Unless it is named as an old one; new keys are digested under the new one."""
    key, _ = await make().store.issue("acme")
    other = SecretStr("q" * 40)
    assert await reason(make(pepper=other), key) == "unknown_key"
    both = make(pepper=other, old_peppers=[PEPPER])
    new, _ = await both.store.issue("acme")
    assert [await reason(both, each) for each in (key, new)] == ["in", "in"]
    assert await reason(make(pepper=other), new) == "in"


def test_a_short_pepper_is_refused() -> None:
    """At start-up, with the way to a better one; it is not quoted."""
    with pytest.raises(SettingsError, match="at least 32 characters") as caught:
        KeyDigests(SecretStr("secret"))
    assert "'secret'" not in str(caught.value)
    with pytest.raises(SettingsError, match="sqlite:///path or postgresql://"):
        StoredKeys("mysql://x", pepper=PEPPER)


class Shown(BaseModel):
    title: str


class Catalog(ServiceClient, service="catalog"):
    @get("/products/{product_id}", at="name")
    async def name(self, product_id: str) -> str: ...


class NamePage(Page):
    name = required(Catalog.name)


class TitlePage(Page):
    name = required(Catalog.name)

    @shape
    def shown(self, name: str) -> Shown:
        return Shown(title=name)


async def test_pinned_to_a_version(make: Make, clock: Clock) -> None:
    """A key gets its version without a word, its successor as well; who uses what outlives the gateway."""
    services = FakeServices("catalog")
    services["catalog"].get("/products/p1").respond(json={"name": "Lamp"})
    versions = Versions(Version("2026-05-01", Renamed(Shown, "name", to="title")), Version("2024-11-01"), clock=clock)
    keys = make(uses=versions.usage)
    settings = Settings(services=services.settings, log_level="ERROR")
    app = create_bff(
        "t", settings=settings, clients=[Catalog], transport=services.transport, auth=keys, versions=versions
    )
    app.page("/products/{product_id}", TitlePage)
    async with bff_client(app) as client:
        old, record = await keys.store.issue("acme", version="2024-11-01")
        new, _ = await keys.store.rotate(record.id, grace=60)
        head, _ = await keys.store.issue("bolt")
        answers = [(await client.get("/products/p1", headers={"x-api-key": key})).json() for key in (old, new, head)]
    assert answers == [{"name": "Lamp"}, {"name": "Lamp"}, {"title": "Lamp"}]
    assert await make().store.version_uses() == [
        ("2026-05-01", "bolt", 1, clock.now),
        ("2024-11-01", "acme", 2, clock.now),
    ]


async def test_in_a_gateway(make: Make) -> None:
    """As an authenticator: scopes, challenges, and connections closed with the app."""
    services = FakeServices("catalog")
    services["catalog"].get("/products/p1").respond(json={"name": "Lamp"})
    keys = make()
    settings = Settings(services=services.settings, log_level="ERROR")
    app = create_bff("t", settings=settings, clients=[Catalog], transport=services.transport, auth=keys)
    app.page("/products/{product_id}", NamePage, scopes=["read"])
    async with bff_client(app) as client:
        may, _ = await keys.store.issue("acme", scopes=["read"])
        may_not, _ = await keys.store.issue("acme")
        answers = [
            await client.get("/products/p1", headers={} if key is None else {"x-api-key": key})
            for key in (may, may_not, None, may[:-1] + "!")
        ]
    assert [answer.status_code for answer in answers] == [200, 403, 401, 401]
    assert answers[2].headers["www-authenticate"] == 'ApiKey realm="partner"'
    assert may[13:] not in answers[3].text
