"""What is answered without a task, at the protocol, with all that an answer has: pages that are kept, and what an
overloaded gateway refuses."""

from __future__ import annotations

import pytest

from .served import Served, served, statuses

pytestmark = pytest.mark.anyio

GET = b"GET /things/a HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /things/last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST /things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n"
ALL_DEFAULT_ONES = 2.0


async def once_known(edge: Served) -> None:
    """The gateway knows its pages since the first request."""
    assert statuses(await edge.say(LAST)) == [200]
    edge.service.heads.clear()
    edge.app.lag.stop()  # the level is as the test has it
    edge.app.shedder.level = ALL_DEFAULT_ONES


async def test_nothing_is_spent_on_it() -> None:
    """No service is asked and no task made; the answer is as whole as others, and the connection goes on."""
    async with served() as edge:
        await once_known(edge)
        answer = await edge.say(GET + GET + LAST)
        assert statuses(answer) == [503, 503, 503]
        for header in (b"retry-after: 1", b"cache-control: no-store", b"x-content-type-options: nosniff"):
            assert answer.lower().count(header) == 3
        assert b"application/problem+json" in answer
        assert answer.endswith(b"<EOF>")
        assert edge.service.heads == []
        (page,) = (page for page in edge.app.pages if page.path == "/things/{thing_id}")
        assert (page.meter.shed, page.meter.statuses[503]) == (3, 3)
        assert page.meter.in_flight == 0


async def test_the_same_connection_is_served_again() -> None:
    """A refusal leaves nothing behind."""
    async with served() as edge:
        await once_known(edge)
        edge.app.shedder.level = 1.5  # every other default page
        found = [statuses(await edge.say(GET + GET + GET + LAST)) for _ in range(3)]
        assert [sorted(one) for one in found] == [[200, 200, 503, 503]] * 3
        assert len(edge.service.heads) == 6


async def test_a_body_that_comes_later_is_no_request() -> None:
    """What follows a refused request is its body, and then the next request."""
    async with served() as edge:
        await once_known(edge)
        answer = await edge.say(POST, b'{"name":', b'"x"}' + LAST, pause=0.05)
        assert statuses(answer) == [503, 503]


async def test_nothing_is_done_behind_a_last_request() -> None:
    """Nor kept open what llhttp has let go of."""
    async with served() as edge:
        await once_known(edge)
        edge.app.shedder.level = 1.5  # every other default page
        upgrade = GET[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"
        for last in (LAST, upgrade) * 2:
            answer = await edge.say(last + GET)
            assert len(statuses(answer)) == 1
            assert answer.endswith(b"<EOF>")
        assert len(edge.service.heads) == 2


async def test_what_is_no_page_is_served() -> None:
    """Health checks and plain routes are not shed."""
    async with served() as edge:
        await once_known(edge)
        answer = await edge.say(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert statuses(answer) == [200]


async def test_another_server_refuses_as_well() -> None:
    """Where the protocol is plain uvicorn's, the page refuses, and counts the same."""
    async with served(guard=False) as edge:
        await once_known(edge)
        assert statuses(await edge.say(GET + LAST)) == [503, 503]
        (page,) = (page for page in edge.app.pages if page.path == "/things/{thing_id}")
        assert (page.meter.shed, page.meter.statuses[503]) == (2, 2)


KEPT = b"GET /shelf/kept?fields=echo HTTP/1.1\r\nHost: x\r\n"
CLOSE = b"Connection: close\r\n\r\n"
DIFFERENT = (b"date:", b"x-request-id:", b"age:")


def lines(answer: bytes) -> list[bytes]:
    return sorted(line for line in answer.split(b"\r\n") if not line.startswith(DIFFERENT))


async def test_a_kept_page_is_the_same_either_way() -> None:
    """The same headers and body as by plain uvicorn, counted the same; the service is asked once."""
    found = {}
    for guard in (True, False):
        async with served(guard=guard) as edge:
            first = await edge.say(KEPT + CLOSE)
            tag = next(line[6:] for line in first.split(b"\r\n") if line.startswith(b"etag: "))
            second = await edge.say(KEPT + b"\r\n" + KEPT + CLOSE)
            unchanged = await edge.say(KEPT + b"If-None-Match: " + tag + b"\r\n" + CLOSE)
            assert statuses(first + second + unchanged) == [200, 200, 200, 304]
            assert len(edge.service.heads) == 1
            (page,) = (page for page in edge.app.pages if page.path == "/shelf/{thing_id}")
            meter = page.meter
            assert (meter.cached, meter.in_flight, meter.statuses) == (3, 0, {200: 3, 304: 1})
            found[guard] = lines(second) + lines(unchanged)
    assert found[True] == found[False]


async def test_what_admission_refuses_is_refused_for_a_kept_page_too() -> None:
    """A page that is kept opens no way around the checks."""
    async with served(allowed_hosts=("x",)) as edge:
        assert statuses(await edge.say(KEPT + CLOSE)) == [200]
        for request, status in (
            (KEPT.replace(b"Host: x", b"Host: evil") + CLOSE, 421),
            (KEPT + b"Host: x\r\n" + CLOSE, 400),
            (KEPT + b"X-Much: " + b"a" * 40_000 + b"\r\n" + CLOSE, 431),
        ):
            assert statuses(await edge.say(request)) == [status]


async def test_kept_pages_are_served_in_an_overload() -> None:
    """They cost less than most refusals do elsewhere."""
    async with served() as edge:
        assert statuses(await edge.say(KEPT + CLOSE)) == [200]
        edge.app.lag.stop()
        edge.app.shedder.level = ALL_DEFAULT_ONES
        assert statuses(await edge.say(KEPT + CLOSE)) == [200]
        assert statuses(await edge.say(KEPT.replace(b"kept", b"other") + CLOSE)) == [503]
