"""Every version against recorded examples: what was promised is what is answered, and what its document says."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from ..app import Bff
from ..errors import DeclarationError
from ..versions import Version, Versions
from .client import bff_client

__all__ = ["prove_versions"]


async def prove_versions(
    app: Bff, folder: Path, *, headers: Mapping[str, str] | None = None, record: bool = False
) -> None:
    """Play the examples in ``folder`` (``2024-11-01/product.json`` and so on) to ``app`` and compare.

    An example is ``{"request": {"path": "/products/p1"}, "answer": {"status": 200, "body": …}}``; a request may have
    ``method``, ``headers`` and a ``body`` too, ``headers`` go with all of them. The folder says the version: paths are
    the plain ones. A 200 must also be what the version's OpenAPI document describes, and nothing besides.

    ``record`` writes the answers that are not there yet, once, when a version is new. Raises ``AssertionError`` with
    everything that is wrong, also a page of a version that no example shows.
    """
    versions = app.versions
    if versions is None:
        raise DeclarationError("the gateway has no versions: create_bff(versions=...)")
    wrong: list[str] = []
    async with bff_client(app, headers={"x-request-id": "example", **(headers or {})}) as client:
        for version in versions.all:
            examples = {file: json.loads(file.read_text()) for file in sorted((folder / version.name).glob("*.json"))}
            wrong += _not_shown(app, versions, version, [example["request"] for example in examples.values()])
            document = app.openapi_of(version.name)
            for file, example in examples.items():
                answer = await _ask(client, versions, version, example["request"])
                if record and "answer" not in example:
                    example["answer"] = {"status": answer.status_code, "body": _body(answer)}
                    file.write_text(json.dumps(example, indent=2, ensure_ascii=False) + "\n")
                where = f"{version.name}/{file.name}"
                wrong += [f"{where}: {what}" for what in _differences(example.get("answer"), answer, versions, version)]
                if answer.is_success:
                    route = _route(app, example["request"])
                    wrong += [f"{where}: {what}" for what in undescribed(document, route, answer)]
    if wrong:
        raise AssertionError("\n".join(wrong))


def undescribed(document: Mapping[str, Any], route: tuple[str, str] | None, answer: httpx.Response) -> list[str]:
    """What in ``answer`` the OpenAPI ``document`` does not say of ``route`` (a method, and the end of a path)."""
    import jsonschema_rs  # noqa: PLC0415 - of the extra bff-core[testing]

    if route is None:
        return ["no page is at this path"]
    method, path = route
    found = [operations[method] for key, operations in document["paths"].items() if key.endswith(path)]
    response = found[0]["responses"].get(str(answer.status_code)) if found else None
    if response is None:
        return [f"the OpenAPI document does not know {answer.status_code} here"]
    media_type = answer.headers["content-type"].partition(";")[0]
    if media_type not in response["content"]:
        return [f"the OpenAPI document says {', '.join(response['content'])}, not {media_type}"]
    schema = {"components": _closed(document["components"]), **_closed(response["content"][media_type]["schema"])}
    validator = jsonschema_rs.Draft202012Validator(schema)
    return [f"at '/{'/'.join(map(str, e.instance_path))}': {e.message}" for e in validator.iter_errors(answer.json())]


def _closed(schema: Any) -> Any:
    """The schema, with no other members than those it names."""
    schema = copy.deepcopy(schema)
    todo = [schema]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            if isinstance(each.get("properties"), dict) and each.get("title") != "ProblemDocument":
                each.setdefault("additionalProperties", False)
            todo += each.values()
        elif isinstance(each, list):
            todo += each
    return schema


def _not_shown(app: Bff, versions: Versions, version: Version, requests: list[dict[str, Any]]) -> list[str]:
    shown = {_route(app, request) for request in requests}
    return [
        f"{version.name}: no example of {page.method} {page.path}"
        for page in app.pages
        if versions.has_page(page.page, version) and (page.method.lower(), page.path) not in shown
    ]


def _route(app: Bff, request: Mapping[str, Any]) -> tuple[str, str] | None:
    method, path = request.get("method", "GET"), request["path"].partition("?")[0]
    return next(
        (
            (page.method.lower(), page.path)
            for page in app.pages
            if page.method == method and page.path_regex.match(path)
        ),
        None,
    )


async def _ask(
    client: httpx.AsyncClient, versions: Versions, version: Version, request: Mapping[str, Any]
) -> httpx.Response:
    return await client.request(
        request.get("method", "GET"),
        request["path"],
        headers={versions.header: version.name, **request.get("headers", {})},
        json=request.get("body"),
    )


def _body(answer: httpx.Response) -> Any:
    return answer.json() if answer.content else None


def _differences(
    recorded: Mapping[str, Any] | None, answer: httpx.Response, versions: Versions, version: Version
) -> list[str]:
    if recorded is None:
        return ["has no recorded answer; prove_versions(…, record=True) writes it"]
    found: list[str] = []
    if answer.headers.get(versions.header) != version.name:
        found.append(f"was answered as version {answer.headers.get(versions.header)}")
    if answer.status_code != recorded["status"]:
        found.append(f"status {answer.status_code}, recorded: {recorded['status']}")
    if (body := _body(answer)) != recorded["body"]:
        found.append(f"answer {json.dumps(body)}, recorded: {json.dumps(recorded['body'])}")
    return found
