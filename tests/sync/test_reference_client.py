"""docs/clients/mobile.ts, run by Node against a running gateway. Its types are where they can be cut out."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.web.real import installed

from .shop import Shop
from .test_kill import ROOT, Gateway, served  # noqa: F401 - a fixture

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")]
SOURCE = Path(__file__).parents[2] / "docs" / "clients" / "mobile.ts"


def javascript(source: str) -> str:
    """The client without its types."""
    bare = re.sub(r"// <types>.*?// </types>\n", "", source, flags=re.DOTALL)
    return re.sub(r"\bconst (\w+): [A-Z]\w* =", r"const \1 =", bare)


def test_it_is_short_and_needs_nothing() -> None:
    source = SOURCE.read_text()
    assert len(source.splitlines()) < 300
    assert "import " not in source
    assert "require(" not in source


def test_its_types_fit() -> None:
    packages = installed(ROOT / "tests" / "web" / "typed", "openapi-typescript")
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--lib", "es2022,dom"]
    command = [packages / "node_modules" / ".bin" / "tsc", *options, SOURCE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


async def test_it_syncs(served: tuple[Shop, str], tmp_path: Path) -> None:  # noqa: F811 - the fixture
    shop, url = served
    shop.fill("u1", 50)
    (tmp_path / "mobile.mjs").write_text(javascript(SOURCE.read_text()))
    gateway = Gateway(url, "memory://")
    try:
        await gateway.ready()
        script = Path(__file__).parent / "mobile_test.mjs"
        node = await asyncio.create_subprocess_exec(
            "node",
            str(script),
            str(tmp_path / "mobile.mjs"),
            f"{gateway.url}/sync",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await node.communicate()
    finally:
        gateway.kill()
    assert node.returncode == 0, errors.decode()
    assert json.loads(output) == shop.texts("u1")
    assert len(shop.effects) == 129, "each once"
