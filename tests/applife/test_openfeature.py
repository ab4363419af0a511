"""Flags as OpenFeature's own SDKs get them: those for web and Python with their OFREP providers, against a gateway on a
socket."""

from __future__ import annotations

import asyncio
import json
import shutil
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from bff_core import AppLife
from bff_core.testing import FakeServices
from tests.servers import free_port
from tests.web.real import installed

from .conftest import DEFINITIONS, make_app, write

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]
HERE = Path(__file__).parent / "openfeature"


class Gateway(NamedTuple):
    url: str
    life: AppLife


@pytest.fixture
async def gateway(services: FakeServices, file: Path) -> AsyncIterator[Gateway]:
    life, port = AppLife(file), free_port()
    server = uvicorn.Server(uvicorn.Config(make_app(services, life), port=port, log_level="critical"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield Gateway(f"http://127.0.0.1:{port}", life)
    server.should_exit = True
    await serving


async def test_the_web_sdk(gateway: Gateway, file: Path, tmp_path: Path) -> None:
    """Flags are evaluated together, and asked for again with the entity tag."""
    packages = await asyncio.to_thread(installed, HERE, "openfeature")
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    shutil.copy(HERE / "flags.mjs", tmp_path)
    pipe = asyncio.subprocess.PIPE
    command = ["node", str(tmp_path / "flags.mjs"), gateway.url]
    node = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    assert node.stdout is not None
    if await node.stdout.readline() == b"change\n":
        write(file, json.dumps(DEFINITIONS | {"config": {"most": 100}}))
        await gateway.life.refresh()
    output, errors = await node.communicate()
    assert node.returncode == 0, errors.decode()
    saw = json.loads(output)

    def shown(who: str, flag: str) -> tuple[Any, ...]:
        return tuple(saw[who][flag].get(name) for name in ("value", "variant", "reason"))

    assert shown("anna", "fast") == (True, "on", "TARGETING_MATCH"), "whose they are is not the context's to say"
    assert shown("anna", "half") == ("B", "b", "SPLIT")
    assert saw["anna"]["most"]["value"] == 99
    assert (saw["anna"]["none"]["value"], saw["anna"]["none"]["errorCode"]) == (True, "FLAG_NOT_FOUND")
    assert (saw["changes"], saw["changed"]["most"]["value"]) == (["most"], 100)
    assert shown("berta", "fast") == (False, "off", "DEFAULT")
    assert {each["status"] for each in saw["asked"]} == {200, 304}
    assert {each["update"] for each in saw["asked"]} == {"required"}, "an app that is too old has its flags"


async def test_the_python_sdk(gateway: Gateway) -> None:
    """Flags are evaluated one by one."""

    def ask() -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # the provider never closes its session
            api.set_provider(OFREPProvider(gateway.url, headers_factory=lambda: {"x-user": "anna"}))
            client, whose = api.get_client(), EvaluationContext("mallory", {"subject": "berta"})
            try:
                return {
                    "fast": client.get_boolean_details("fast", False, whose),
                    "half": client.get_string_details("half", "?", whose),
                    "most": client.get_integer_details("most", 0, whose),
                    "none": client.get_boolean_details("none", True, whose),
                }
            finally:
                api.shutdown()

    saw = await asyncio.to_thread(ask)
    assert [(one.value, one.variant, one.reason) for one in (saw["fast"], saw["half"], saw["most"])] == [
        (True, "on", "TARGETING_MATCH"),
        ("B", "b", "SPLIT"),
        (99, "config", "STATIC"),
    ]
    assert (saw["none"].value, saw["none"].error_code) == (True, "FLAG_NOT_FOUND")
