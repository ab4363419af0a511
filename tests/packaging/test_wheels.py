"""Each gateway's wheel, installed alone: without the other two and without the shop's services, it boots."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "bff-core": ".",
    "shop-clients": "shop",
    **{f"bff-{name}": f"bffs/{name}" for name in ("mobile", "web", "partner")},
}
GATEWAYS = ["mobile", "web", "partner"]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One wheel per distribution of the project."""
    target = tmp_path_factory.mktemp("wheels")
    for folder in PACKAGES.values():
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, ROOT / folder],
            check=True,
            capture_output=True,
        )
    return {name: next(target.glob(f"{name.replace('-', '_')}-*.whl")) for name in PACKAGES}


def files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def requirements(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("METADATA"))
        lines = archive.read(name).decode().splitlines()
    return {line.split(": ")[1] for line in lines if line.startswith("Requires-Dist") and "extra ==" not in line}


def test_what_is_in_them(wheels: dict[str, Path]) -> None:
    """Each holds its own and nothing else."""
    assert files(wheels["shop-clients"]) == {"shop/__init__.py", "shop/clients.py", "shop/models.py"}
    assert all(name.startswith("bff_core/") for name in files(wheels["bff-core"]))
    assert {"bff_core/app.py", "bff_core/py.typed", "bff_core/cli/__main__.py"} <= files(wheels["bff-core"])
    for name in GATEWAYS:
        own = files(wheels[f"bff-{name}"])
        assert f"bffs/{name}/app.py" in own
        assert all(entry.startswith(f"bffs/{name}/") for entry in own)
        assert requirements(wheels[f"bff-{name}"]) == {"bff-core>=0.1", "shop-clients>=0.1"}
    assert requirements(wheels["shop-clients"]) == {"bff-core>=0.1"}


@pytest.mark.parametrize("name", GATEWAYS)
def test_boots_alone(wheels: dict[str, Path], tmp_path: Path, name: str) -> None:
    """Only third-party packages come from this environment; a path entry does not follow its editable installs."""
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site]
    subprocess.run([*install, wheels["bff-core"], wheels["shop-clients"], wheels[f"bff-{name}"]], check=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    third_party = Path(pytest.__file__).parents[1]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{site}{os.pathsep}{third_party}"}
    # -S: no site module, so that the .pth file of the editable install is not read.
    python = [sys.executable, "-S"]
    others = [f"bffs.{other}" for other in GATEWAYS if other != name] + ["shop.services", "shop.seed", "tests"]
    probe = f"import importlib.util as u, json; print(json.dumps([n for n in {others!r} if u.find_spec(n)]))"
    output = subprocess.run([*python, "-c", probe], cwd=empty, env=env, check=True, capture_output=True).stdout
    assert json.loads(output) == []
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    # A port nobody listens on stands for every service.
    env |= {f"BFF_SERVICES__{service}__URL": "http://127.0.0.1:9" for service in ("CATALOG", "ORDERS", "IDENTITY")}
    command = [*python, "-m", "bff_core.cli", "serve", f"bffs.{name}.app:app", "--port", str(port)]
    with subprocess.Popen(command, cwd=empty, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            assert until_ready(port, process)
            openapi = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=10).read())
            assert openapi["info"]["title"] == name
            path = {"mobile": "/products/p1", "web": "/api/products/p1", "partner": "/v1/products/p1"}[name]
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}{path}", headers={"x-api-key": "bff_demo_acme_0123456789abcdef"}
            )
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=10)
            with refused.value as answer:
                assert answer.code == 503
                assert answer.headers["content-type"] == "application/problem+json"
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        assert process.returncode == 0


def until_ready(port: int, process: subprocess.Popen[bytes]) -> bool:
    for _ in range(300):
        if process.poll() is not None:
            return False
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            time.sleep(0.05)
    return False
