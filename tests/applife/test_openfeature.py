"""Flags as OpenFeature's own SDK gets them: npm's web SDK with its OFREP provider, against a gateway on a socket."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from bff_core import AppLife
from bff_core.testing import FakeServices
from tests.servers import free_port
from tests.web.real import installed

from .conftest import DEFINITIONS, make_app, write

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]
HERE = Path(__file__).parent / "openfeature"


async def test_the_web_sdk(services: FakeServices, file: Path, tmp_path: Path) -> None:
    packages = await asyncio.to_thread(installed, HERE, "openfeature")
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    shutil.copy(HERE / "flags.mjs", tmp_path)
    life, port = AppLife(file), free_port()
    server = uvicorn.Server(uvicorn.Config(make_app(services, life), port=port, log_level="critical"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    pipe = asyncio.subprocess.PIPE
    command = ["node", str(tmp_path / "flags.mjs"), f"http://127.0.0.1:{port}"]
    node = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    assert node.stdout is not None
    try:
        line = await node.stdout.readline()
        if line == b"change\n":
            write(file, json.dumps(DEFINITIONS | {"config": {"most": 100}}))
            await life.refresh()
        output, errors = await node.communicate()
    finally:
        server.should_exit = True
        await serving
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
