"""An OpenAPI document as a page for people: rendered here, without a script, for each version of an API."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from .versions import ErrorsChanged, PageAdded, Version, Versions

__all__ = ["HEADERS", "reference_page"]

STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #888; }
body { font: 15px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 6rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 3rem; } h3 { margin-top: 2.2rem; border-top: 1px solid var(--line); padding-top: 1rem; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 500; color: var(--soft); font-size: .85rem; } pre { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; } .warn { border-left: 4px solid #c77700; padding-left: .8rem; }
nav { columns: 2; }
"""  # noqa: E501 - CSS
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-cache",
}
METHODS = ("get", "post", "put", "patch", "delete")


def reference_page(document: Mapping[str, Any], versions: Versions, version: Version) -> str:
    """The page of ``version``, which ``document`` describes."""
    title = f"{document['info']['title']} {version.name}"
    body = "".join((*_head(title, versions, version), *_start(document), *_operations(document), *_rest(document)))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>{body}</body></html>'
    )


def _head(title: str, versions: Versions, version: Version) -> Iterator[str]:
    others = " · ".join(
        f"<b>{each.name}</b>" if each is version else f'<a href="/docs/{each.name}">{each.name}</a>'
        for each in versions.all
    )
    where = f", or paths that begin with <code>{version.path}</code>" if version.path is not None else ""
    yield f"<h1>{escape(title)}</h1><p>Versions: {others}. Machine-readable: "
    yield f'<a href="/openapi/{version.name}.json">OpenAPI</a>.'
    yield f"<p>Say <code>{versions.header}: {version.name}</code>{where}; else it is the version your key is pinned to."
    if version.deprecated is not None:
        ends = f" and ends on {version.sunset} (UTC)" if version.sunset is not None else ""
        yield f'<p class="warn">This version is deprecated since {version.deprecated}{ends}: '
        yield f'move on to <a href="/docs/{versions.head.name}">{versions.head.name}</a>.'
    if version.changes:
        yield "<h2>What is new in it</h2><ul>"
        for change in version.changes:
            yield f"<li>{escape(_change(change))}"
        yield "</ul>"


def _change(change: Any) -> str:
    if isinstance(change, PageAdded):
        return f"{change.target.__name__} is new."
    return "Errors look different." if isinstance(change, ErrorsChanged) else f"{change.target.__name__}: {change}"


def _start(document: Mapping[str, Any]) -> Iterator[str]:
    path = next(iter(document["paths"]), "/")
    schemes = document.get("components", {}).get("securitySchemes", {}).values()
    header = next((scheme["name"] for scheme in schemes if scheme["type"] == "apiKey"), "Authorization")
    yield '<h2 id="start">Quick start</h2><pre>'
    yield escape(f'export API=https://… KEY=…\ncurl -H "{header}: $KEY" "$API{path}"')
    yield "</pre><pre>"
    yield escape(
        "import os\n\nimport httpx\n\n"
        f'with httpx.Client(base_url=os.environ["API"], headers={{"{header}": os.environ["KEY"]}}) as client:\n'
        f'    answer = client.get("{path}")\n    answer.raise_for_status()\n    print(answer.json())'
    )
    yield "</pre>"


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    found = [
        (method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in METHODS
    ]
    yield '<h2 id="endpoints">Endpoints</h2><nav>'
    for method, path, operation in found:
        yield f'<div><a href="#{operation["operationId"]}"><code>{method.upper()} {escape(path)}</code></a></div>'
    yield "</nav>"
    for method, path, operation in found:
        yield f'<h3 id="{operation["operationId"]}"><code>{method.upper()} {escape(path)}</code></h3>'
        yield f"<p>{escape(operation.get('description') or operation.get('summary', ''))}"
        yield from _table(
            ("parameter", "in", "type", ""),
            (
                (
                    f"<code>{escape(each['name'])}</code>{'' if each.get('required') else ' (optional)'}",
                    each["in"],
                    _type(each.get("schema", {})),
                    escape(each.get("description", "")),
                )
                for each in operation.get("parameters", ())
            ),
        )
        for content in operation.get("requestBody", {}).get("content", {}).values():
            yield f"<p>Body: {_type(content.get('schema', {}))}"
        yield from _table(("answer", "", ""), (_answer(*each) for each in operation["responses"].items()))


def _answer(status: str, response: Mapping[str, Any]) -> tuple[str, str, str]:
    kinds = {_type(content["schema"]) for content in response.get("content", {}).values() if content.get("schema")}
    return escape(status), escape(response.get("description", "")), ", ".join(sorted(kinds))


def _rest(document: Mapping[str, Any]) -> Iterator[str]:
    webhooks = document.get("webhooks", {})
    if webhooks:
        yield '<h2 id="webhooks">Webhooks</h2>'
    for name, operations in webhooks.items():
        operation = operations["post"]
        yield f'<h3 id="webhook-{escape(name)}"><code>{escape(name)}</code></h3><p>{escape(operation["summary"])}'
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        yield f"<p>Body: {_type(schema)}"
        model = document["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], {})
        for example in model.get("examples", ()):
            yield f"<pre>{escape(json.dumps(example, indent=2, ensure_ascii=False))}</pre>"
    yield '<h2 id="models">Models</h2>'
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        yield f'<h3 id="model-{escape(name)}">{escape(name)}</h3><p>{escape(schema.get("description", ""))}'
        if "enum" in schema:
            yield f"<p>{_type(schema)}"
        needed = schema.get("required", ())
        yield from _table(
            ("member", "type", ""),
            (
                (
                    f"<code>{escape(member)}</code>{'' if member in needed else ' (optional)'}",
                    _type(each),
                    escape(each.get("description", "")),
                )
                for member, each in schema.get("properties", {}).items()
            ),
        )


def _table(names: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """``rows`` are HTML already."""
    lines = ["".join(f"<td>{value}" for value in row) for row in rows]
    if lines:
        yield f"<table><tr>{''.join(f'<th>{name}' for name in names)}{''.join(f'<tr>{line}' for line in lines)}</table>"


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words of HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#model-{name}">{name}</a>'
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_type(each) for each in schema[several])
    if "const" in schema or "enum" in schema:
        return " | ".join(
            f"<code>{escape(json.dumps(each))}</code>" for each in schema.get("enum", [schema.get("const")])
        )
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return escape(schema.get("format") or schema.get("type") or "anything")
