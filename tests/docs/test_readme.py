"""Every Python example of the documents runs."""

from __future__ import annotations

import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOML = re.compile(r"^```toml\n(\[tool\.pytest.*?)^```$", re.MULTILINE | re.DOTALL)
ONE_LINE = re.compile(r"^python -c '(.*new_api_key.*)'$", re.MULTILINE)
# Plugins of this project's tests that no example needs, and that take longer to import than an example to run.
UNUSED = [f"-pno:{name}" for name in ("schemathesis", "hypothesispytest", "xdist", "xdist.looponfail", "timeout")]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def examples(document: Path) -> dict[str, str]:
    """The examples of a document by the file name in their first line."""
    found = {}
    for block in BLOCK.findall(document.read_text()):
        name = re.match(r"# (\w+\.py)\n", block)
        assert name, f"an example in {document.name} has no file name in its first line:\n{block}"
        found[name[1]] = block
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_examples_run(document: Path, tmp_path: Path) -> None:
    """Modules are imported, tests are run, as files of one folder, the way a reader would."""
    files = examples(document)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    urls: dict[str, str] = {}
    if files.pop("conftest.py", None) is not None:
        # It tells all that its tests need.
        (tmp_path / "pyproject.toml").write_text("".join(TOML.findall(document.read_text())))
    else:
        (tmp_path / "pytest.ini").write_text("[pytest]\nanyio_mode = auto\n")
        (tmp_path / "conftest.py").write_text(
            "import pytest\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
        )
        urls = {f"BFF_SERVICES__{name}__URL": "http://127.0.0.1:9" for name in ("CATALOG", "INVENTORY", "ORDERS")}
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{tmp_path}", **urls}
    modules = [name.removesuffix(".py") for name in files if not name.startswith("test_")]
    code = "\n".join(f"import {module}" for module in modules)
    if len(modules) == len(files):
        subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, env=env, check=True)
        return
    # Collected first of all, so that what is imported is imported here.
    (tmp_path / "test_0.py").write_text(f"{code}\n")
    tests = [sys.executable, "-W", "error", "-m", "pytest", "-q", *UNUSED, "."]
    subprocess.run(tests, cwd=tmp_path, env=env, check=True)


def test_the_first_example_is_short() -> None:
    """A gateway with one page of two sections is under 30 lines."""
    assert len(examples(ROOT / "README.md")["hello.py"].splitlines()) < 30


def test_a_key_and_its_digest() -> None:
    """What a reader runs for ``ApiKey`` gives what it takes."""
    (code,) = ONE_LINE.findall((ROOT / "docs" / "auth.md").read_text())
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    key, digest = said.stdout.split()
    assert key.startswith("bff_live_")
    assert digest == sha256(key.encode()).hexdigest()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_keys_of_the_examples_are_known(document: Path) -> None:
    """Whoever runs an example can call it."""
    for digest in re.findall(r'(?:sha256=|KEY = )"([0-9a-f]{64})"', document.read_text()):
        assert digest == sha256(b"acme-key").hexdigest()
