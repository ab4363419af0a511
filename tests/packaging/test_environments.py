"""Each gateway installed for real: its wheel, what its wheel requires, and nothing else; run by the ``bff`` command."""

from __future__ import annotations

import importlib
import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bff_core import Settings
from tests.packaging.environments import GATEWAYS, ROOT, SOURCES, clean_environment

PAGES = {"mobile": "/products/p1", "web": "/api/products/p1", "partner": "/v1/products/p1"}
KEY = "bff_test_AcmeDemoKey0123456789abcdefghi0FEhNq"  # the demo's
ABSENT = ("shop.services", "shop.seed", "shop.seeding", "shop.demo")


@dataclass
class Gateway:
    """A gateway that runs in an environment of its own."""

    name: str
    process: subprocess.Popen[bytes]
    url: str

    def get(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body of an answer."""
        request = urllib.request.Request(self.url + path, headers={"X-API-Key": KEY})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers["content-type"], answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["content-type"], error.read()


def contents(wheel: Path) -> set[str]:
    """The files of a wheel, its metadata left out."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def described(wheel: Path) -> metadata.Distribution:
    """The metadata of a wheel."""
    return next(iter(metadata.distributions(path=[str(wheel)])))


def services(name: str) -> list[str]:
    """The services that a gateway's settings name."""
    settings = importlib.import_module(f"bffs.{name}.app").settings
    assert isinstance(settings, Settings)
    return list(settings.services)


@pytest.fixture(scope="module", params=GATEWAYS)
def gateway(
    request: pytest.FixtureRequest, environments: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway served by ``bff serve`` from its own environment, none of its services to be reached."""
    name = request.param
    with socket.socket() as closed, socket.socket() as free:
        closed.bind(("127.0.0.1", 0))  # bound and never listening: whoever connects is refused
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
        port = free.getsockname()[1]
        free.close()
        variables = {f"BFF_SERVICES__{service.upper()}__URL": nowhere for service in services(name)}
        folder = tmp_path_factory.mktemp(f"cwd-{name}")
        with (tmp_path_factory.mktemp("logs") / "output").open("w+b") as output:
            process = subprocess.Popen(
                [environments[name] / "bin/bff", "serve", f"bffs.{name}.app:app", "--port", str(port)],
                cwd=folder,
                env=clean_environment(**variables),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                wait_until_open(process, port, output.name)
                yield Gateway(name, process, f"http://127.0.0.1:{port}")
            finally:
                process.kill()
                process.wait()


def wait_until_open(process: subprocess.Popen[bytes], port: int, output: str) -> None:
    """Until the port takes connections; fails with the output when the process ends or takes too long."""
    deadline = time.monotonic() + 15
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"did not come up (status {process.poll()}):\n{Path(output).read_text()}")


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_gateways_wheel_is_its_own_package(wheels: dict[str, Path], name: str) -> None:
    """Everything below bffs/NAME that is code or data, and not one file more."""
    folder = ROOT / "bffs" / name
    left_out = {"pyproject.toml", "Dockerfile", "README.md"}
    expected = {
        f"bffs/{name}/{file.relative_to(folder).as_posix()}"
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.name not in left_out
    }
    assert contents(wheels[f"bff-{name}"]) == expected
    assert f"bffs/{name}/app.py" in expected


@pytest.mark.parametrize("name", SOURCES)
def test_the_wheels_take_each_other(wheels: dict[str, Path], name: str) -> None:
    """The versions that our wheels require of each other are those that are built."""
    for requirement in map(Requirement, described(wheels[name]).requires or []):
        if requirement.name in SOURCES:
            assert requirement.specifier.contains(described(wheels[requirement.name]).version)


@pytest.mark.parametrize("name", GATEWAYS)
def test_nothing_else_is_installed(environments: dict[str, Path], name: str) -> None:
    """The other gateways and the services cannot be imported; what can comes from the environment."""
    others = [f"bffs.{other}" for other in GATEWAYS if other != name]
    program = (
        "import importlib, json\n"
        "def where(name):\n"
        "    try: return importlib.import_module(name).__file__\n"
        "    except ModuleNotFoundError as error: return error.name\n"
        f"print(json.dumps([where(name) for name in {['bff_core', 'shop.clients', f'bffs.{name}', *others, *ABSENT]}]))"
    )
    home = environments[name]
    command = [home / "bin/python", "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=home, env=clean_environment(), check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(Path(file).is_relative_to(home) for file in found[:3])
    assert found[3:] == [*others, *ABSENT]


def test_a_gateway_boots_alone(gateway: Gateway) -> None:
    """It is ready, says what it serves, and a page whose services are away is a 503 problem document."""
    assert gateway.get("/health/ready")[0] == 200
    status, _, body = gateway.get("/openapi.json")
    assert status == 200
    assert json.loads(body)["info"]["title"] == gateway.name
    status, kind, body = gateway.get(PAGES[gateway.name])
    assert (status, kind) == (503, "application/problem+json")
    assert json.loads(body)["status"] == 503


def test_a_gateway_stops_when_told(gateway: Gateway) -> None:
    """SIGTERM ends it, cleanly and soon."""
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(timeout=10) == 0
