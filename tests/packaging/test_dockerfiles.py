"""The Dockerfiles' commands, run where there is no container engine: in folders and environments of their own."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.packaging.environments import GATEWAYS, ROOT, clean_environment

FILES = {name: ROOT / "bffs" / name / "Dockerfile" for name in GATEWAYS} | {"shop": ROOT / "shop/Dockerfile"}
BUILT = {name: {"bff-core", "shop-clients", f"bff-{name}"} for name in GATEWAYS} | {"shop": {"bff-core"}}


def stages(name: str) -> list[list[tuple[str, str]]]:
    """Per stage its instructions and their arguments."""
    text = FILES[name].read_text().replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found: list[list[tuple[str, str]]] = []
    for instruction, arguments in lines:
        if instruction == "FROM":
            found.append([])
        found[-1].append((instruction, arguments))
    return found


def only(stage: list[tuple[str, str]], instruction: str) -> list[str]:
    """The arguments of one kind of instruction."""
    return [arguments for found, arguments in stage if found == instruction]


def copied(stage: list[tuple[str, str]], target: Path) -> None:
    """What the stage's COPY instructions put into its working directory, by Docker's rules."""
    for arguments in only(stage, "COPY"):
        if arguments.startswith("--"):
            continue
        *sources, destination = shlex.split(arguments)
        for source in sources:
            place = target / destination
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place = place / Path(source).name if destination.endswith(("/", ".")) else place
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)


@pytest.mark.parametrize("name", FILES)
def test_the_copied_files_are_enough_to_build(wheels: dict[str, Path], name: str, tmp_path: Path) -> None:
    """From what the build stage has copied, its ``pip wheel`` makes the wheels that the repository makes, whole."""
    build = stages(name)[0]
    source = tmp_path / "src"
    source.mkdir()
    copied(build, source)
    (command,) = (line for line in only(build, "RUN") if " wheel " in line)
    words = shlex.split(command.replace("/wheels", str(tmp_path / "wheels")))
    assert words[:4] == ["python", "-m", "pip", "wheel"]
    offline = ["--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command_here = [sys.executable, *words[1:4], *offline, *words[4:]]
    done = subprocess.run(
        command_here, cwd=source, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = {wheel.name.split("-")[0].replace("_", "-"): wheel for wheel in (tmp_path / "wheels").iterdir()}
    assert set(built) == BUILT[name]
    for distribution, wheel in built.items():
        with zipfile.ZipFile(wheel) as from_image, zipfile.ZipFile(wheels[distribution]) as whole:
            assert set(from_image.namelist()) == set(whole.namelist())


@pytest.mark.parametrize("name", FILES)
def test_an_image_is_small_and_not_root(name: str) -> None:
    """Two stages on the same base; the second has no sources of the first but its environment, and its own user."""
    build, run = stages(name)
    assert only(build, "FROM") == ["python:3.11-slim AS build"]
    assert only(run, "FROM") == ["python:3.11-slim"]
    (user,) = only(run, "USER")
    assert user not in ("root", "0")
    assert any(re.search(rf"\buseradd\b.* {user}\b", line) for line in only(run, "RUN"))
    (environment,) = (line.split()[1] for line in only(run, "COPY") if line.startswith("--from=build"))
    assert f"python -m venv {environment}" in only(build, "RUN")
    assert f"PATH={environment}/bin:$PATH" in only(run, "ENV")[0]


def test_no_image_is_given_what_it_must_not_have() -> None:
    """The context is a list of what goes in; keys, data and local settings are kept out of it."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    for name in FILES:
        for stage in stages(name):
            for arguments in only(stage, "COPY"):
                if not arguments.startswith("--"):
                    assert {source.split("/")[0] for source in shlex.split(arguments)[:-1]} <= let_in
    for file in ("shop/.shop/identity-key.pem", "shop/orders.db", "bffs/web/.env", "bffs/web/.env.local"):
        parts = [file, *Path(file).parts]
        assert any(fnmatch.fnmatch(part, line.removeprefix("**/")) for line in lines[1:] for part in parts), file


@pytest.mark.parametrize("name", GATEWAYS)
def test_the_command_runs_and_its_health_check_agrees(name: str, environments: dict[str, Path], tmp_path: Path) -> None:
    """CMD serves in a fresh environment; HEALTHCHECK fails before that and succeeds once it is up."""
    run = stages(name)[1]
    (port,) = only(run, "EXPOSE")
    command = json.loads(only(run, "CMD")[0])
    check = json.loads(only(run, "HEALTHCHECK")[0].partition(" CMD ")[2])
    assert check[0] == "python"
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        free = str(chosen.getsockname()[1])
    assert port in command
    command = [word.replace("0.0.0.0", "127.0.0.1").replace(port, free) for word in command]
    check = [word.replace(port, free) for word in check]
    binaries = environments[name] / "bin"
    variables = clean_environment(PATH=str(binaries))

    def healthy() -> bool:
        words = [binaries / check[0], *check[1:]]
        return subprocess.run(words, env=variables, cwd=tmp_path, capture_output=True, check=False).returncode == 0

    assert not healthy()
    output = tmp_path / "output"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [binaries / command[0], *command[1:]], env=variables, cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 15
        while not (up := healthy()) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert up, output.read_text()
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0
