"""Fixtures for the tests of what is shipped."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.packaging.environments import GATEWAYS, ROOT, SOURCES, clean_environment, link, needed


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of each distribution, built from the repository."""
    target = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir"]
    builds = {
        name: subprocess.Popen(
            [*command, str(target / name), str(ROOT / source)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean_environment(),
        )
        for name, source in SOURCES.items()
    }
    for name, build in builds.items():
        output, _ = build.communicate(timeout=50)
        assert build.returncode == 0, f"{name}: {output}"
    return {name: next((target / name).glob("*.whl")) for name in SOURCES}


@pytest.fixture(scope="session")
def install(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a fresh environment with these of our wheels, and of other people's only what the wheels require.

    What others made is linked from the environment of the tests, so that no network is needed.
    """

    def make(*names: str) -> Path:
        home = tmp_path_factory.mktemp(f"env-{names[-1]}")
        venv.EnvBuilder(symlinks=True, with_pip=False).create(home)
        site = next(home.glob("lib/python3*/site-packages"))
        required = [
            text
            for name in names
            for text in next(iter(metadata.distributions(path=[str(wheels[name])]))).requires or []
        ]
        asked = [Requirement(text) for text in required]
        extras = {extra for one in asked if one.name in SOURCES for extra in one.extras}
        for name in needed([str(one) for one in asked if one.name not in SOURCES], extras):
            link(metadata.distribution(name), site)
        pip = [sys.executable, "-m", "pip", "--python", str(home), "--disable-pip-version-check", "--isolated"]
        files = [str(wheels[name]) for name in names]
        env = clean_environment()
        for arguments in (["install", "--quiet", "--no-index", "--no-deps", "--no-compile", *files], ["check"]):
            done = subprocess.run([*pip, *arguments], capture_output=True, text=True, env=env, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        return home

    return make


@pytest.fixture(scope="session")
def environments(install: Callable[..., Path]) -> dict[str, Path]:
    """Per gateway a fresh environment with what its wheel requires."""
    return {name: install("bff-core", "shop-clients", f"bff-{name}") for name in GATEWAYS}
