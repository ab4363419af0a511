"""What the tests of webhooks share."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Node finds ``standardwebhooks``; skips when npm cannot bring it."""
    folder = tmp_path_factory.mktemp("node")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), "standardwebhooks@1.0.0"]
    ran = subprocess.run(command, check=False, capture_output=True, timeout=50)
    if ran.returncode != 0:
        pytest.skip("npm cannot install standardwebhooks here")
    return folder
