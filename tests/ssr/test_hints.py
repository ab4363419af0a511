"""``103 Early Hints``: what the template needs, told while its sections are still to come."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from jinja2 import Environment

from bff_core import Bff
from bff_core.server import Http1Protocol
from bff_core.ssr import Templates
from bff_core.ssr.hints import links_of

from .gateway import Stage, ThingPage, make_gateway, on_a_socket

pytestmark = pytest.mark.anyio

LAYOUT = """<!doctype html><head>
<link rel="icon" href="/icon.png"><link rel=stylesheet href="/static/a.css"><script src="/static/a.js" defer></script>
</head>{% block main %}{% endblock %}"""
PAGE = """{% extends "layout.html" %}{% block main %}<h1>{{ page.title }}</h1>{% endblock %}"""
LINKS = [b"</static/a.css>; rel=preload; as=style", b"</static/a.js>; rel=preload; as=script"]
OFFERED: dict[str, Any] = {"http.response.early_hint": {}}
NAVIGATION = [(b"host", b"x"), (b"sec-fetch-mode", b"navigate")]


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def app(stage: Stage, tmp_path: Path) -> Bff:
    (tmp_path / "layout.html").write_text(LAYOUT)
    (tmp_path / "page.html").write_text(PAGE)
    return hinting(stage, tmp_path, early_hints=True)


def hinting(stage: Stage, folder: Path, **settings: Any) -> Bff:
    made = make_gateway(stage, **settings)
    made.templates = Templates(folder)
    made.html("/hinted/{thing_id}", ThingPage, template="page.html", public=True)
    return made


class Asked:
    """One request, as a server hands it over."""

    def __init__(self, app: Bff, path: str = "/hinted/t1", **changes: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": NAVIGATION,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "extensions": OFFERED,
            **changes,
        }
        self._app = app
        self._came = asyncio.Event()

    async def run(self) -> list[str]:
        await self._app(self.scope, self._receive, self._send)
        return [message["type"].removeprefix("http.response.") for message in self.sent]

    async def first(self) -> None:
        await self._came.wait()

    async def _receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        self._came.set()


async def test_before_the_required_sections_are_there(app: Bff, stage: Stage) -> None:
    stage.shut("thing")
    asked = Asked(app)
    running = asyncio.create_task(asked.run())
    await asked.first()
    assert asked.sent == [{"type": "http.response.early_hint", "links": LINKS}]
    stage.open("thing")
    kinds = await running
    assert kinds[:2] == ["early_hint", "start"]
    assert set(kinds[2:]) == {"body"}
    assert asked.sent[1]["status"] == 200


async def test_an_error_can_still_be_told(app: Bff, stage: Stage) -> None:
    stage.answers["thing"] = httpx.Response(500)
    asked = Asked(app)
    assert await asked.run() == ["early_hint", "start", "body"]
    assert asked.sent[1]["status"] == 502


async def test_over_our_own_server(app: Bff, stage: Stage) -> None:
    """What a browser reads: the interim answer at once, the page when its required section has come."""
    stage.shut("thing")
    async with on_a_socket(app, http=Http1Protocol) as origin:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(origin.rsplit(":", 1)[1]))
        writer.write(b"GET /hinted/t1 HTTP/1.1\r\nhost: x\r\nsec-fetch-mode: navigate\r\nconnection: close\r\n\r\n")
        hint = await reader.readuntil(b"\r\n\r\n")
        assert hint == b"HTTP/1.1 103 Early Hints\r\nlink: %b\r\nlink: %b\r\n\r\n" % tuple(LINKS)
        stage.open("thing")
        page = await reader.read()
        assert page.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"<h1>Lamp</h1>" in page
        writer.close()


async def test_not_what_is_included_on_a_condition(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        """{% include "always.html" %}{% if page.title == "x" %}{% include "sometimes.html" %}{% endif %}"""
    )
    for name in ("always", "sometimes"):
        (tmp_path / f"{name}.html").write_text(f'<script src="/{name}.js"></script>')
    asked = Asked(hinting(stage, tmp_path, early_hints=True))
    await asked.run()
    assert asked.sent[0]["links"] == [b"</always.js>; rel=preload; as=script"]


async def test_only_where_they_are_asked_for(app: Bff, stage: Stage, tmp_path: Path) -> None:
    """A proxy may take a 103 for the final answer."""
    assert (await Asked(app).run())[0] == "early_hint"
    assert (await Asked(hinting(stage, tmp_path)).run())[0] == "start"


@pytest.mark.parametrize(
    "changes",
    [
        {"extensions": {}},
        {"extensions": None},
        {"extensions": {"http.response.trailers": {}}},
        {"http_version": "1.0"},
        {"headers": [(b"host", b"x")]},
        {"headers": [(b"host", b"x"), (b"sec-fetch-mode", b"cors")]},
        {"path": "/plain/t1"},
        {"path": "/api/t1"},
    ],
)
async def test_only_where_it_helps(app: Bff, changes: dict[str, Any]) -> None:
    """The server offers it, a browser opens the page, and there is something to be told."""
    kinds = await Asked(app, **changes).run()
    assert kinds[0] == "start"
    assert "early_hint" not in kinds


@pytest.mark.parametrize(
    ("source", "links"),
    [
        ('<LINK REL="Stylesheet" HREF="/a.css">', ["</a.css>; rel=preload; as=style"]),
        ('<script type="module" src="/a.js"></script>', ["</a.js>; rel=modulepreload"]),
        ('<link rel="stylesheet" href="/a.css?v=2">', ["</a.css?v=2>; rel=preload; as=style"]),
        ('<link rel="stylesheet" href="/{{ version }}/a.css">', []),
        ('<link rel="stylesheet" href="/a{{ version }}.css">', []),
        (
            '<link rel="stylesheet" href="{{ a }}"><link rel="stylesheet" href="/b.css">',
            ["</b.css>; rel=preload; as=style"],
        ),
        ('<!-- <link rel="stylesheet" href="/a.css"> -->', []),
        ('<link rel="stylesheet" href="//cdn.test/a.css">', []),
        ('<link rel="stylesheet" href="https://cdn.test/a.css">', []),
        ('<link rel="stylesheet" href="/a>, </b">', []),
        ('<link rel="stylesheet" href="/a\r\nx: y">', []),
        ('<!-- {{ x }} <link rel="stylesheet" href="/a.css"> -->', []),
        ("<script>{{ x }} '<link rel=stylesheet href=/a.css>'</script>", []),
        ('<script src="/a.js" {{ x }}></script>', []),
        ('<script src="/a.js" {% if x %}nomodule{% endif %}></script>', []),
        ('<link rel="stylesheet" {% block x %}{% endblock %} href="/a.css">', []),
        ('<script src="/a.js" async></script>', ["</a.js>; rel=preload; as=script"]),
        ('<script src="/a.js" crossorigin></script>', []),
        ('<script src="/a.js" integrity="sha384-x"></script>', []),
        ('<script src="/a.js" nomodule></script>', []),
        ('<script src="/a.js" type="text/template"></script>', []),
        ('<script src="/a.js" src="/b.js"></script>', []),
        ('<link rel="stylesheet" media="print" href="/a.css">', []),
        ('<link rel="alternate stylesheet" href="/a.css">', []),
        ('<noscript><link rel="stylesheet" href="/a.css"></noscript>', []),
        ('{% if x %}<script src="/a.js"></script>{% else %}<script src="/b.js"></script>{% endif %}', []),
        ('{% for x in y %}<script src="/a.js"></script>{% endfor %}', []),
        (
            '{% if x %}y{% endif %}<script src="/a.js"></script>{% block z %}<script src=/b.js></script>{% endblock %}',
            ["</a.js>; rel=preload; as=script", "</b.js>; rel=preload; as=script"],
        ),
        ("<link rel=stylesheet><script>'<link rel=stylesheet href=/a.css>'</script>", []),
    ],
)
def test_what_a_template_needs(source: str, links: list[str]) -> None:
    """What stands there as it is, and on this origin; nothing that could split a header."""
    parsed = Environment(autoescape=True).parse(source)
    assert links_of("page", lambda _: parsed) == [link.encode() for link in links]


def css(*names: str) -> str:
    return "".join(f"<link rel=stylesheet href=/{name}.css>" for name in names)


LAYOUTS = {
    "base": css("a") + "{% block head %}" + css("b") + "{% endblock %}{% block body %}{% endblock %}" + css("c"),
    "middle": "{% extends 'base' %}" + css("x") + "{% block head %}{{ super() }}" + css("d") + "{% endblock %}",
    "part": css("p") + "{% macro m() %}" + css("x") + "{% endmacro %}",
    "round": css("r") + "{% include 'round' %}{% include 'page' %}",
    "own": "{% block head %}" + css("o") + "{% endblock %}",
}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("{% extends 'base' %}", "abc"),
        ("{% extends 'base' %}" + css("x"), "abc"),
        (css("e") + "{% extends 'base' %}" + css("x"), "eabc"),
        ("{% extends 'base' %}{% block head %}" + css("e") + "{% endblock %}", "aec"),
        ("{% extends 'base' %}{% block head %}{{ super() }}" + css("e") + "{% endblock %}", "abec"),
        ("{% extends 'base' %}{% block head %}{% if x %}{{ super() }}{% endif %}{% endblock %}", "ac"),
        ("{% extends 'base' %}{% block other %}" + css("x") + "{% endblock %}", "abc"),
        ("{% extends 'middle' %}", "abdc"),
        ("{% extends 'middle' %}{% block head %}{{ super() }}" + css("e") + "{% endblock %}", "abdec"),
        ("{% extends 'middle' %}{% block head %}" + css("e") + "{% endblock %}", "aec"),
        ("{% extends 'base' %}{% block body %}{% include 'part' %}{% endblock %}", "abpc"),
        ("{% extends 'base' %}{% include 'part' %}", "abc"),
        ("{% extends 'base' %}{% block head %}{% include 'own' %}{% endblock %}", "aoc"),
        ("{% extends x %}{% block head %}" + css("x") + "{% endblock %}", ""),
        ("{% if x %}{% extends 'base' %}{% endif %}" + css("x"), ""),
        ("{% include x %}{% include ['part', 'own'] %}" + css("e"), "e"),
        ("{% from 'part' import m %}{% include 'round' %}", "r"),
        ("{% macro m() %}" + css("x") + "{% endmacro %}" + css("e"), "e"),
        ("{% call m() %}" + css("x") + "{% endcall %}", ""),
        ("{% set y %}" + css("x") + "{% endset %}{% filter upper %}" + css("x") + "{% endfilter %}", ""),
        ("<textarea>" + css("x") + "</textarea>" + css("e"), "e"),
        ("</template></noscript>" + css("e") + "<template>" + css("x") + "</template>" + css("f"), "ef"),
    ],
)
def test_what_a_page_has_in_any_case(source: str, names: str) -> None:
    """Not what its layout has in a block of another's, nor what is never put out."""
    templates = {**LAYOUTS, "page": source}
    parse = Environment(autoescape=True).parse
    hinted = [
        link.split(b".")[0].removeprefix(b"</").decode() for link in links_of("page", lambda n: parse(templates[n]))
    ]
    assert "".join(hinted) == names
