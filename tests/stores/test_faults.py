"""Stores that are killed, slow, full, locked or gone: documented in docs/stores.md, line by line."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from valkey import Valkey
from valkey.exceptions import TimeoutError as ValkeyTimeout

from bff_core.stores import KeyValueStore, StoreUnavailable, open_store
from bff_core.stores.sqlite import SqliteDriver
from bff_core.stores.values import SqlKeyValueStore
from tests.servers import PostgresProcess, ValkeyProcess, free_port
from tests.stores.conftest import Open
from tests.stores.test_behaviour import slots

HANGS = 10.0  # seconds: what does not end within this, though it was told to end within less
SHORT = 0.2

Server = ValkeyProcess | PostgresProcess


@pytest.fixture(params=["valkey", "postgresql"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of this test's own."""
    running: Server = ValkeyProcess() if request.param == "valkey" else PostgresProcess()
    yield running
    running.close()


def calls_of(store: KeyValueStore, key: str) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: store.get(key),
        lambda: store.put(key, b"x", 60),
        lambda: store.swap(key, b"x", b"y", 60),
        lambda: store.swap(f"{key}'", None, b"x", 60),
        lambda: store.delete(key),
        lambda: store.delete(key, b"x"),
    ]


async def all_fail(store: KeyValueStore, match: str = ".") -> None:
    """Every kind of call, alone and many at once."""
    for call in calls_of(store, "k"):
        with pytest.raises(StoreUnavailable, match=match):
            await asyncio.wait_for(call(), HANGS)
    calls = [call() for number in range(5) for call in calls_of(store, f"{number}")]
    for outcome in await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), HANGS):
        assert isinstance(outcome, StoreUnavailable)


async def works(store: KeyValueStore) -> None:
    """Each slot of it."""
    values = [b"%d" % number for number in range(32)]
    await asyncio.gather(*(store.put(f"{value!r}", value, 60) for value in values))
    assert await asyncio.gather(*(store.get(f"{value!r}") for value in values)) == values
    assert slots(store) == 8


async def recovers(store: KeyValueStore) -> None:
    """Within a few seconds, by itself."""
    for _ in range(500):
        try:
            return await works(store)
        except StoreUnavailable:
            await asyncio.sleep(0.02)
    raise AssertionError("it is there again, and not used")


async def connections_of(server: Server, url: str) -> int:
    """How many the server has from others than who asks."""
    if isinstance(server, ValkeyProcess):
        with Valkey.from_url(server.url) as client:
            return len(client.client_list(_type="normal")) - 1
    asking = await asyncpg.connect(url)
    count: int = await asking.fetchval("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    await asking.close()
    return count - 1


async def test_killed_and_restarted_under_load(server: Server, opened: Open) -> None:
    """Every call in between fails in time; then they succeed again, over no more connections than before."""
    store = opened(server.url, timeout=2.0)
    await store.put("k", b"x", 60)
    done = failed = 0
    running = True

    async def use(number: int) -> None:
        nonlocal done, failed
        calls = calls_of(store, f"{number}")
        turn = 0
        while running:
            turn += 1
            try:
                await asyncio.wait_for(calls[turn % len(calls)](), HANGS)
                done += 1
            except StoreUnavailable:
                failed += 1
                await asyncio.sleep(0.01)

    async def until(condition: Callable[[], bool]) -> None:
        for _ in range(2000):
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError((done, failed))

    users = [asyncio.ensure_future(use(number)) for number in range(16)]
    for _ in range(2):
        seen = done
        await until(lambda: done > seen + 200)  # noqa: B023 - it is called here
        before = failed
        await asyncio.to_thread(server.kill)
        await until(lambda: failed > before + 50)  # noqa: B023
        dead = done
        await all_fail(store)
        assert done == dead
        await asyncio.to_thread(server.restart)
    seen = done
    await until(lambda: done > seen + 200)
    running = False
    await asyncio.gather(*users)
    await recovers(store)
    # What was written is there, if the server keeps anything.
    assert await store.get("k") == (b"x" if isinstance(server, PostgresProcess) else None)
    for _ in range(200):  # the server takes note of what was cut
        if await connections_of(server, server.url) <= 8:
            break
        await asyncio.sleep(0.02)
    assert await connections_of(server, server.url) <= 8


async def test_never_there(opened: Open) -> None:
    """A store that nobody listens at is opened; its calls fail until somebody does."""
    port = free_port()
    await all_fail(opened(f"valkey://127.0.0.1:{port}"), "valkey: ConnectionError")
    await all_fail(opened(f"postgresql://postgres@127.0.0.1:{port}/postgres"), "postgresql: Connection")


class Proxy:
    """Between a store and its server; holds the answers back while ``open`` is not set."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.open = asyncio.Event()
        self.open.set()
        self.connections = 0
        self.most = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def aclose(self) -> None:
        self.open.set()
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """Close what is open."""
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, back}
        self.connections += 1
        self.most = max(self.most, self.connections)
        passing = [
            asyncio.ensure_future(self._pass(reader, back, hold=False)),
            asyncio.ensure_future(self._pass(there, writer, hold=True)),
        ]
        self._tasks |= set(passing)
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        self.connections -= 1
        back.close()
        writer.close()
        self._writers -= {writer, back}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, hold: bool) -> None:
        try:
            while data := await reader.read(65536):
                if hold:
                    await self.open.wait()
                writer.write(data)
                await writer.drain()
        except (OSError, RuntimeError):  # RuntimeError is uvloop's
            pass


@pytest.fixture(params=["valkey", "postgresql"])
async def slow(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Proxy, str]]:
    """A server behind a proxy, and the URL through that."""
    name = {"valkey": "valkey_url", "postgresql": "postgres_url"}[request.param]
    url = str(request.getfixturevalue(name))
    port = url.rpartition(":")[2].partition("/")[0]
    proxy = Proxy(int(port))
    yield proxy, url.replace(f":{port}", f":{await proxy.start()}")
    await proxy.aclose()


async def test_answers_held_back(slow: tuple[Proxy, str], opened: Open) -> None:
    """Late is unavailable; a late answer is nobody's; the connections it would have come over are cut."""
    proxy, url = slow
    patient = opened(url)
    await patient.put("k", b"x", 60)
    store = opened(url, timeout=SHORT)
    await recovers(store)
    proxy.open.clear()
    await all_fail(store, f"no answer within {SHORT} s|connection was closed|Timeout")
    for _ in range(200):
        if proxy.connections == 1:
            break
        await asyncio.sleep(0.02)
    assert proxy.connections == 1  # the patient one's
    proxy.open.set()
    await recovers(store)
    values = [b"%d" % number for number in range(50)]
    await asyncio.gather(*(patient.put(f"v{value!r}", value, 60) for value in values))
    assert await asyncio.gather(*(patient.get(f"v{value!r}") for value in values)) == values


async def test_more_at_once_than_connections(slow: tuple[Proxy, str], opened: Open) -> None:
    """Calls above their number wait for one."""
    proxy, url = slow
    store = opened(url)
    await store.put("k", b"x", 60)
    await asyncio.gather(*(store.get("k") for _ in range(300)))
    assert 1 < proxy.most <= 8


async def test_idle_connections_that_were_closed(slow: tuple[Proxy, str], opened: Open) -> None:
    """As firewalls and restarted servers do: what is known to be closed is not used, and no call fails of it."""
    proxy, url = slow
    store: Any = opened(url)
    await works(store)
    await proxy.cut()
    for _ in range(500):
        if url.startswith("valkey"):
            idle = store._client.connection_pool._available_connections
            closed = [connection._reader.at_eof() for connection in idle]
        else:
            closed = [connection.is_closed() for connection in store._driver._idle]
        if all(closed):
            break
        await asyncio.sleep(0.01)
    assert len(closed) > 1
    await works(store)


async def test_slow_from_the_first_call(slow: tuple[Proxy, str], opened: Open) -> None:
    """Connecting counts: a call that is first is not slower."""
    proxy, url = slow
    proxy.open.clear()
    store = opened(url, timeout=SHORT)
    await all_fail(store, f"no answer within {SHORT} s")
    proxy.open.set()
    await recovers(store)


async def test_closed_while_answers_are_held_back(slow: tuple[Proxy, str]) -> None:
    """Closing waits for nobody who does not answer."""
    proxy, url = slow
    store = open_store(url, namespace="n", timeout=SHORT)
    await recovers(store)
    proxy.open.clear()
    reading = asyncio.ensure_future(store.get("k"))
    await asyncio.sleep(0)
    await asyncio.wait_for(store.aclose(), HANGS)
    with pytest.raises(StoreUnavailable):
        await reading


async def test_a_server_without_room(valkey_url: str, opened: Open) -> None:
    """Valkey refuses to keep more; what it has can still be read and removed."""
    store = opened(valkey_url)
    await store.put("k", b"x", 60)
    with Valkey.from_url(valkey_url) as client:
        client.config_set("maxmemory", "1")
        try:
            for call in (
                store.put("new", b"x", 60),
                store.swap("new", None, b"x", 60),
                store.swap("k", b"x", b"y", 60),
            ):
                with pytest.raises(StoreUnavailable, match="valkey: OutOfMemoryError"):
                    await call
            assert await store.get("k") == b"x"
            assert await store.delete("k")
        finally:
            client.config_set("maxmemory", "0")
    await works(store)


async def test_scripts_are_forgotten(valkey_url: str, opened: Open) -> None:
    """A Valkey that was restarted is told its scripts again."""
    store = opened(valkey_url)
    await store.put("k", b"x", 60)
    for _ in range(2):
        with Valkey.from_url(valkey_url) as client:
            client.script_flush()
        assert await store.swap("k", b"x", b"x", 60)
    with Valkey.from_url(valkey_url) as client:
        client.script_flush()
    assert await store.delete("k", b"x")


async def test_another_type_of_value(valkey_url: str, opened: Open) -> None:
    """What somebody else put under our name is no value."""
    store: Any = opened(valkey_url)
    with Valkey.from_url(valkey_url) as client:
        client.rpush(store._name("k"), b"x")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await store.get("k")
    await works(store)


async def test_the_table_is_dropped(postgres_url: str, opened: Open) -> None:
    """As when a database was restored from before: one call fails, the next makes it anew."""
    store = opened(postgres_url)
    await store.put("k", b"x", 60)
    other = await asyncpg.connect(postgres_url)
    await other.execute("DROP TABLE bff_values, bff_migrations")
    await other.close()
    with pytest.raises(StoreUnavailable, match="UndefinedTableError"):
        await store.get("k")
    await works(store)


async def test_a_server_that_refuses_to_write(postgres_url: str, opened: Open) -> None:
    """As a standby does: writes fail, what is there can be read."""
    store = opened(postgres_url)
    await store.put("k", b"x", 60)
    other = await asyncpg.connect(postgres_url, server_settings={"default_transaction_read_only": "off"})

    async def refuse(setting: str) -> None:
        await other.execute(f"ALTER SYSTEM SET default_transaction_read_only = {setting}")
        await other.execute("SELECT pg_reload_conf()")
        for _ in range(500):
            asking = await asyncpg.connect(postgres_url)
            now = await asking.fetchval("SHOW default_transaction_read_only")
            await asking.close()
            if now == setting:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(now)

    await refuse("on")
    try:
        for call in (store.put("k", b"y", 60), store.swap("k", b"x", b"y", 60), store.delete("k")):
            with pytest.raises(StoreUnavailable, match="ReadOnlySQLTransactionError"):
                await call
        assert await store.get("k") == b"x"
    finally:
        await refuse("off")
        await other.close()
    await works(store)


async def test_a_row_that_somebody_holds(postgres_url: str, opened: Open) -> None:
    """A write that waits for another's transaction is given up here and at the server."""
    patient, store = opened(postgres_url), opened(postgres_url, timeout=SHORT)
    await patient.put("k", b"x", 60)
    await recovers(store)
    other = await asyncpg.connect(postgres_url)
    async with other.transaction():
        await other.execute("SELECT * FROM bff_values FOR UPDATE")
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(store.swap("k", b"x", b"y", 60), HANGS)
        assert await patient.get("k") == b"x"
        for _ in range(500):  # nobody waits for the row any more
            waiting = await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if waiting == 0:
                break
            await asyncio.sleep(0.01)
        assert waiting == 0
    await other.close()
    assert await patient.swap("k", b"x", b"z", 60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a SQLite file."""
    return tmp_path / "store.db"


def driver_of(store: KeyValueStore) -> SqliteDriver:
    assert isinstance(store, SqlKeyValueStore)
    assert isinstance(store._driver, SqliteDriver)
    return store._driver


async def test_a_full_disk(path: Path, opened: Open) -> None:
    """Writes fail, reads go on; room is used as soon as there is some."""
    store = opened(f"sqlite:///{path}")
    await store.put("k", b"x", 60)
    writer = driver_of(store)._writer
    pages = await writer.run(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    await writer.run(lambda connection: connection.execute(f"PRAGMA max_page_count={pages}").fetchone())
    for call in (store.put("new", b"x" * 50_000, 60), store.swap("new", None, b"x" * 50_000, 60)):
        with pytest.raises(StoreUnavailable, match="sqlite: OperationalError: database or disk is full"):
            await call
    assert await store.get("k") == b"x"
    assert await store.get("new") is None
    assert await store.delete("k")
    await writer.run(lambda connection: connection.execute(f"PRAGMA max_page_count={pages + 1000}").fetchone())
    await store.put("new", b"x" * 50_000, 60)
    await works(store)


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


async def test_a_file_that_another_process_writes_to(path: Path, opened: Open) -> None:
    """Writes wait as long as they may and fail, reads go on; all is well when the other is done."""
    url = f"sqlite:///{path}"
    patient, store = opened(url), opened(url, timeout=SHORT)
    await patient.put("k", b"x", 60)
    await recovers(store)
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: ASYNC220 - a moment's wait
        [sys.executable, "-c", HOLD, str(path)], stdin=pipe, stdout=pipe
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        for call in (store.put("k", b"y", 60), store.swap("k", b"x", b"y", 60), store.delete("k")):
            with pytest.raises(StoreUnavailable, match=r"locked|no answer"):
                await asyncio.wait_for(call, HANGS)
        for outcome in await asyncio.gather(*(store.put("k", b"y", 60) for _ in range(20)), return_exceptions=True):
            assert isinstance(outcome, StoreUnavailable)
        await asyncio.wait_for(driver_of(store)._writer.run(lambda _: None), HANGS)  # nothing waits for its turn yet
        assert await patient.get("k") == b"x"
        other.stdin.close()  # type: ignore[union-attr]
    await recovers(store)


async def test_a_file_that_is_removed(path: Path, opened: Open) -> None:
    """Nothing is written to what nobody could read again: a call fails, then there is a new, empty file."""
    store = opened(f"sqlite:///{path}")
    await store.put("k", b"x", 60)
    assert await store.get("k") == b"x"
    for file in path.parent.iterdir():
        file.unlink()
    with pytest.raises(StoreUnavailable, match="sqlite: FileNotFoundError: the file was removed"):
        await store.put("k", b"y", 60)
    assert await store.get("k") is None
    await works(store)
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT count(*) FROM bff_values").fetchone()[0] == 32
    other.close()


async def test_a_file_that_is_replaced(path: Path, opened: Open) -> None:
    """By another store's, as a backup is restored: what that holds is there."""
    backup = path.with_name("backup.db")
    one, two = opened(f"sqlite:///{path}"), opened(f"sqlite:///{backup}")
    await one.put("k", b"today", 60)
    await two.put("k", b"yesterday", 60)
    await two.aclose()
    for _ in range(500):
        if not backup.with_name("backup.db-wal").exists():
            break
        await asyncio.sleep(0.01)
    backup.replace(path)
    path.with_name("store.db-wal").unlink()
    path.with_name("store.db-shm").unlink()
    assert await one.get("k") == b"yesterday"
    assert await one.swap("k", b"yesterday", b"now", 60)
    assert await one.get("k") == b"now"


async def test_a_file_that_is_no_database(path: Path, opened: Open) -> None:
    """Is left as it is."""
    path.write_bytes(b"minutes of a meeting" * 1000)  # noqa: ASYNC240
    await all_fail(opened(f"sqlite:///{path}"), "file is not a database")
    assert path.read_bytes() == b"minutes of a meeting" * 1000  # noqa: ASYNC240


async def test_a_folder_that_is_gone(tmp_path: Path, opened: Open) -> None:
    """As when a volume is not mounted; it is used when it is back."""
    folder = tmp_path / "volume"
    folder.mkdir()
    store = opened(f"sqlite:///{folder}/store.db")
    folder.rmdir()
    why = "^sqlite: OperationalError: unable to open database file$"
    await all_fail(store, why)

    async def insist() -> None:
        for _ in range(10):
            with pytest.raises(StoreUnavailable, match=why):
                await store.get("k")

    await asyncio.gather(*(insist() for _ in range(4)))
    folder.mkdir()
    await works(store)


SECRET = "hunter2"


async def test_errors_keep_the_password(valkey_url: str, postgres_url: str, opened: Open) -> None:
    """Wrong, right with nobody there, or right with another mistake: no error or trace of one shows it."""
    port = free_port()
    where = postgres_url.partition("@")[2]
    host = where.partition("/")[0]
    with Valkey.from_url(valkey_url) as client:
        client.acl_setuser("limited", enabled=True, passwords=[f"+{SECRET}"], commands=["+@connection"])
    urls = [
        f"valkey://:{SECRET}@{valkey_url.partition('://')[2]}",
        f"valkey://limited:{SECRET}@{valkey_url.partition('://')[2]}",
        f"valkey://user:{SECRET}@127.0.0.1:{port}",
        f"valkeys://user:{SECRET}@{valkey_url.partition('://')[2]}",
        f"postgresql://nobody:{SECRET}@{where}",
        f"postgresql://postgres:{SECRET}@{host}/missing",
        f"postgresql://postgres:{SECRET}@127.0.0.1:{port}/x",
        f"postgresql://postgres:{SECRET}@{where}?sslmode=require",
        f"postgresql://postgres:{SECRET}@{where}?sslmode={SECRET}",
    ]
    for url in urls:
        store = opened(url, timeout=2.0)  # a server without TLS waits for more of the handshake
        for call in (store.get("k"), store.put("k", b"value-hunter2", 60)):
            with pytest.raises(StoreUnavailable) as caught:
                await call
            assert SECRET not in "".join(traceback.format_exception(caught.value)), url
            assert SECRET not in repr(caught.value), url


async def test_a_client_of_its_own_has_timeouts(slow: tuple[Proxy, str]) -> None:
    """Whoever uses ``valkey_client`` and bounds nothing is not kept for ever."""
    from bff_core.stores import valkey_client

    proxy, url = slow
    if url.startswith("valkey"):
        client: Any = valkey_client(url, connections=1, timeout=SHORT)
        assert await client.ping()
        proxy.open.clear()
        with pytest.raises(ValkeyTimeout):
            await asyncio.wait_for(client.ping(), HANGS)
        proxy.open.set()
        assert await client.ping()
        await client.aclose()
