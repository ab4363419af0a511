"""Streamed HTML, over real sockets."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

import httpx
import pytest

from bff_core import DeclarationError, Page, ServiceClient, ServiceSettings, Settings, create_bff, get, required, shape
from bff_core import optional as optional_section
from bff_core.ssr import Templates
from bff_core.testing import HostileServer

from .gateway import Stage, Thing, ThingPage, make_gateway, on_a_socket, reading, until


async def test_deferred_parts_come_when_they_are_there(stage: Stage, url: str) -> None:
    """The shell with skeletons first; then each part, in the order in which they come, in one well-formed document."""
    stage.shut("notes", "others")
    async with reading(f"{url}/things/t1") as reader:
        shell = await reader.to("the end")
        assert '<h1 title="Lamp">Lamp</h1>' in shell
        assert '<div id="deferred-notes" aria-busy="true"><p>notes are coming</p>\n</div>' in shell
        assert '<div id="deferred-related__notes" aria-busy="true"></div>' in shell
        assert "</body>" not in shell
        stage.open("others")
        await until(lambda: "others" in stage.asked, "the last section is called")
        stage.open("notes")
        whole = await reader.rest()
    late = whole[len(shell) :]
    assert re.findall(r'<template id="arrived-(\w+)">', late) == ["notes", "related__notes"]
    assert "<li>good</li><li>bad</li>" in late
    assert '<p id="related">A</p>' in late
    assert re.search(r"<!-- Server-Timing: title;dur=[\d.]+, .*total;dur=[\d.]+ -->\s*</body>\s*</html>\s*$", whole)
    headers = reader.response.headers
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["x-accel-buffering"] == "no"
    assert headers["cache-control"] == "private, no-cache"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["server-timing"].startswith("title;dur=")


async def test_a_quick_part_overtakes_a_slow_one(stage: Stage, url: str) -> None:
    """Out of order: what stands first and is slow holds up nobody."""
    stage.shut("ids", "notes")
    async with reading(f"{url}/things/t1") as reader:
        await reader.to("the end")
        stage.open("notes")
        early = await reader.to('__bff("notes")</script>')
        assert "arrived-related" not in early
        stage.open("ids")
        assert '__bff("related__notes")' in await reader.rest()


async def test_without_javascript_in_order(stage: Stage, url: str) -> None:
    """No script, no template: up to what is still to come, and on from there."""
    stage.shut("notes")
    async with reading(f"{url}/things/t1?nojs") as reader:
        early = await reader.to("</h1>")
        await until(lambda: "others" in stage.asked, "everything else is there")
        assert "between" not in early
        stage.open("notes")
        whole = await reader.rest()
    assert "<script" not in whole
    assert "<template" not in whole
    assert "aria-busy" not in whole
    order = [whole.index(mark) for mark in ("<h1", "<li>good", "between", 'id="related">A', "the end", "</html>")]
    assert order == sorted(order)


async def test_the_way_out_for_who_runs_no_script(stage: Stage, url: str) -> None:
    """A refresh to the same page in order, with its query, which breaks out of nothing."""
    stage.shut("notes")
    async with reading(f'{url}/things/t1?q=%22%3E&x="><script>') as reader:
        shell = await reader.to("</head>")
    (found,) = re.findall(r'<noscript><meta http-equiv="refresh" content="0; url=([^"]*)"></noscript>', shell)
    assert found.startswith("?q=%22%3E&amp;x=")
    assert found.endswith("&amp;nojs")
    assert "<script>" not in shell


async def test_nothing_to_wait_for_needs_no_script(stage: Stage, url: str) -> None:
    """What had come before the shell went out is in its place; a template without deferred parts waits for all."""
    async with reading(f"{url}/plain/t1") as reader:
        assert "<p>t1: good, bad A</p>" in await reader.rest()
        assert "<script" not in reader.text
        assert "refresh" not in reader.text


@pytest.mark.parametrize("query", ["", "?nojs"])
async def test_a_part_that_fails_shows_its_fallback(stage: Stage, url: str, query: str) -> None:
    """What the template says for that, else its content with the section's fallback."""
    stage.answers |= {"notes": httpx.Response(500), "others": httpx.Response(500)}
    async with reading(f"{url}/things/t1{query}") as reader:
        text = await reader.rest()
    assert reader.response.status_code == 200
    assert "no notes today" in text
    assert '<ul id="notes">' not in text
    assert '<p id="related">none</p>' in text


@pytest.mark.parametrize("query", ["", "?nojs"])
async def test_a_part_that_cannot_be_rendered_is_left_out(stage: Stage, url: str, query: str) -> None:
    """The document is closed all the same."""
    stage.shut("notes")
    async with reading(f"{url}/broken/t1{query}") as reader:
        await until(lambda: "others" in stage.asked, "the page is under way")
        stage.open("notes")
        assert "</body>" in await reader.rest()


class Fussy(ThingPage):
    """Its shape does not take notes that have come."""

    @shape
    def thing(self, title: str, notes: list[str], related: list[str]) -> Thing:
        if notes:
            raise ValueError("of these notes nothing can be made")
        return Thing(title=title, notes=notes, related=related)


@pytest.mark.parametrize("query", ["", "?nojs"])
async def test_a_shape_that_fails_late(stage: Stage, query: str) -> None:
    """The part shows that it failed, what had come stays, the document is closed."""
    app = make_gateway(stage)
    app.html("/fussy/{thing_id}", Fussy, template="thing.html", public=True)
    stage.shut("notes")
    async with on_a_socket(app) as origin, reading(f"{origin}/fussy/t1{query}") as reader:
        await reader.to("Lamp</h1>")
        await until(lambda: "others" in stage.asked, "the page is under way")
        stage.open("notes")
        text = await reader.rest()
    assert "no notes today" in text
    assert "<li>" not in text
    assert text.rstrip().endswith("</html>")


@pytest.mark.parametrize(("path", "answered"), [("things", 502), ("plain", 502), ("broken-shell", 500)])
@pytest.mark.parametrize("query", ["", "?nojs"])
async def test_what_fails_before_the_first_byte_has_its_status(
    stage: Stage, url: str, path: str, answered: int, query: str
) -> None:
    """And a page for people; what is optional is waited for no longer."""
    if answered == 502:
        stage.answers["thing"] = httpx.Response(500)
        stage.shut("notes")
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/{path}/t1{query}")
    assert answer.status_code == answered
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<title>{answered}</title>" in answer.text
    assert len(answer.headers.get_list("content-security-policy")) == 1


async def test_every_answer_has_a_nonce_of_its_own(stage: Stage, url: str) -> None:
    """In the policy and on every script, never twice; and the policy lets nothing else run."""
    seen = set()
    for _ in range(5):
        stage.shut("notes")
        async with reading(f"{url}/things/t1") as reader:
            await reader.to("the end")
            stage.open("notes")
            text = await reader.rest()
        (policy,) = reader.response.headers.get_list("content-security-policy")
        directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
        (nonce,) = re.findall(r"^'nonce-([\w-]{22})'$", directives["script-src"])
        assert directives["default-src"] == directives["base-uri"] == "'none'"
        assert "unsafe" not in policy
        scripts = re.findall(r"<script([^>]*)>", text)
        assert len(scripts) >= 2
        assert set(scripts) == {f' nonce="{nonce}"'}
        seen.add(nonce)
    assert len(seen) == 5


HOSTILE = [
    "<script>alert(1)</script>",
    "</template><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<!-- <script>",
    "--><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "</body></html><script>",
    "</head><script>",
    "<template id='arrived-related__notes'>",
    "&lt;script&gt;",
    "\u2028</script>\x00",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("query", ["", "?nojs"])
async def test_data_is_never_markup(stage: Stage, url: str, text: str, query: str) -> None:
    """In text and attributes, in the shell and in late parts: the same tags as with harmless data, and the text."""

    async def tags() -> tuple[list[str], str]:
        stage.shut("notes")
        async with reading(f"{url}/things/t1{query}") as reader:
            await reader.to("<h1")
            await until(lambda: "others" in stage.asked, "the page is under way")
            stage.open("notes")
            whole = await reader.rest()
        return re.findall(r"</?[a-z][a-z0-9]*|<!--", whole), whole

    stage.answers |= {"thing": "plain", "notes": ["plain"], "others": ["plain"]}
    harmless, _ = await tags()
    stage.asked.clear()
    stage.answers |= {"thing": text, "notes": [text], "others": [text]}
    hostile, whole = await tags()
    assert sorted(hostile) == sorted(harmless)
    assert whole.count("</body>") == 1
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = escaped.replace('"', "&#34;").replace("'", "&#39;")
    assert whole.count(escaped) >= 5


class Hostile(ServiceClient, service="hostile"):
    @get("/ok")
    async def quick(self) -> dict[str, bool]: ...

    @get("/never")
    async def never(self) -> dict[str, bool]: ...


class Waits(Page):
    """One section that never comes."""

    quick = required(Hostile.quick)
    never = optional_section(Hostile.never)


@pytest.mark.parametrize("query", [b"", b"?nojs"])
async def test_who_leaves_takes_the_calls_along(tmp_path: Path, query: bytes) -> None:
    """The shell is out, the browser goes: the section that still runs is let go."""
    (tmp_path / "waits.html").write_text("<!doctype html>shell{% deferred never %}{{ page.never }}{% enddeferred %}")
    async with HostileServer() as hostile:
        services = {"hostile": ServiceSettings(url=hostile.url)}
        settings = Settings(services=services, log_level="CRITICAL", deadline=20)
        app = create_bff("t", settings=settings, clients=[Hostile], templates=tmp_path)
        app.html("/waits", Waits, template="waits.html", public=True)
        async with on_a_socket(app) as origin:
            port = int(origin.rsplit(":", 1)[1])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /waits%b HTTP/1.1\r\nhost: x\r\n\r\n" % query)
            await reader.readuntil(b"shell")
            flights = app.clients[Hostile].bound["never"].flights
            assert len(flights) == 1
            writer.close()
            await until(lambda: not flights, "the call is let go")
            await until(lambda: not [t for t in asyncio.all_tasks() if "Run.complete" in repr(t)], "the run has ended")
            hostile.release.set()


async def test_a_client_that_reads_slowly_holds_the_writing_up(stage: Stage, url: str) -> None:
    """More than the sockets hold is read bit by bit, and all of it comes."""
    stage.answers["notes"] = ["x" * 400_000] * 4
    stage.shut("notes")
    port = int(url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, b"GET /things/t1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        await until(lambda: "others" in stage.asked, "the page is under way")
        stage.open("notes")
        received = 0
        tail = b""
        while chunk := await loop.sock_recv(connection, 1 << 20):
            received += len(chunk)
            tail = (tail + chunk)[-200:]
    assert received > 1_600_000
    assert tail.endswith(b"0\r\n\r\n")


def test_mistakes_are_told_at_once(tmp_path: Path, stage: Stage) -> None:
    """At start-up, with the template and what is wrong."""
    app = make_gateway(stage)
    app.templates = Templates(tmp_path)
    for name, source, message in [
        ("unknown", "{% deferred nobody %}{% enddeferred %}", "'nobody', which ThingPage does not have"),
        ("syntax", "{% deferred notes %}", "not usable"),
        ("twice", "{% deferred notes %}{% enddeferred %}{% deferred notes %}{% enddeferred %}", "not usable"),
        ("open", "{% autoescape false %}{{ page.title }}{% endautoescape %}", "autoescape, which is always on"),
        ("child", '{% extends "open.html" %}', "autoescape, which is always on"),
    ]:
        (tmp_path / f"{name}.html").write_text(source)
        with pytest.raises(DeclarationError, match=message):
            app.html("/x/{thing_id}", ThingPage, template=f"{name}.html", public=True)
    with pytest.raises(DeclarationError, match="not usable"):
        app.html("/x/{thing_id}", ThingPage, template="absent.html", public=True)
    with pytest.raises(DeclarationError, match="no folder"):
        Templates(tmp_path / "absent")
    app.templates = None
    with pytest.raises(DeclarationError, match="templates="):
        app.html("/x/{thing_id}", ThingPage, template="thing.html", public=True)


@pytest.mark.parametrize(
    "csp", [{"script-src": "'self'"}, {"img-src": "*; script-src *"}, {"script-src-elem": "'unsafe-inline'"}]
)
def test_a_policy_that_breaks_the_page_is_refused(stage: Stage, csp: dict[str, str]) -> None:
    with pytest.raises(DeclarationError, match="csp"):
        make_gateway(stage).html("/x/{thing_id}", ThingPage, template="thing.html", public=True, csp=csp)
