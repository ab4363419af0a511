"""The web gateway's OpenAPI document, made into a typed client by openapi-typescript, and used by a loader."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.environments import ROOT

from .real import installed

HERE = Path(__file__).parent / "typed"
STRICT = "--noEmit --strict --skipLibCheck --target es2022 --module esnext --moduleResolution bundler --lib es2022,dom"
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages, and the client that was generated."""
    packages = installed(HERE, "openapi-typescript")
    folder = tmp_path_factory.mktemp("typed")
    (folder / "node_modules").symlink_to(packages / "node_modules")
    ask = "import json; from bffs.web.app import app; print(json.dumps(app.openapi()))"
    env = {name: value for name, value in os.environ.items() if not name.startswith("BFF_")}
    asked = [sys.executable, "-c", ask]
    document = subprocess.run(asked, env={**env, "PYTHONPATH": str(ROOT)}, capture_output=True, check=True).stdout
    assert json.loads(document)["openapi"].startswith("3.1")
    (folder / "openapi.json").write_bytes(document)
    generate = ["node_modules/.bin/openapi-typescript", "openapi.json", "-o", "schema.d.ts"]
    subprocess.run(generate, cwd=folder, check=True, capture_output=True)
    shutil.copy(HERE / "loader.ts", folder)
    return folder


def tsc(folder: Path, file: str) -> subprocess.CompletedProcess[str]:
    command = ["node_modules/.bin/tsc", *STRICT.split(), file]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_loader_has_types(folder: Path) -> None:
    done = tsc(folder, "loader.ts")
    assert (done.stdout, done.returncode) == ("", 0)


MISTAKES = {
    "order.total.amount": ("order.total.amont", "amont"),
    "product_id: id": ("id", "product_id"),
    "quantity: 2": ("quantity: 'two'", "'string' is not assignable to type 'number'"),
    "'Idempotency-Key': key": ("", "Idempotency-Key"),
    "data._degraded ?? []": ("data.degraded", "degraded"),
}


def test_mistakes_are_found(folder: Path) -> None:
    """Each of them at compile time: what is not there, what is missing, what has another type."""
    text = (folder / "loader.ts").read_text()
    for right, (wrong, _) in MISTAKES.items():
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    (folder / "wrong.ts").write_text(text)
    done = tsc(folder, "wrong.ts")
    assert done.returncode != 0
    lines = [line for line in done.stdout.splitlines() if line.startswith("wrong.ts(")]
    assert len(lines) == len(MISTAKES), done.stdout
    for _, name in MISTAKES.values():
        assert name in done.stdout
