"""`bff up` from start to end, however it ends."""

from __future__ import annotations

import os
import signal
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bff_core import Settings
from bff_core.cli import processes
from tests.cli.running import Tiny, alive, end, eventually, make

Make = Callable[..., Tiny]


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Make]:
    made: list[Tiny] = []

    def once(how: str = "") -> Tiny:
        made.append(make(tmp_path, how))
        return made[0]

    yield once
    for pid in [made[0].pid(name) for name in ("service", "gateway", "child")]:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_from_a_folder_of_the_project(tiny: Make) -> None:
    """Everything runs in the project's root, wherever one calls."""
    project = tiny()
    (project.folder / "deep" / "down").mkdir(parents=True)
    process = project.start(folder="deep/down")
    eventually(lambda: "\nRunning." in project.output or process.poll() is not None, "it runs")
    assert f"http://127.0.0.1:{project.port} " in project.output
    assert "bff tour" not in project.output
    assert end(process) == 0, project.output
    assert project.gone()
    assert (project.folder / "data" / "stopped").exists()


def test_requests_are_seen_while_it_runs(tiny: Make) -> None:
    """Those of the start are not."""
    project = tiny()
    process = project.start()
    eventually(lambda: "\nRunning." in project.output, "it runs")
    assert '"event": "request"' not in project.output
    urllib.request.urlopen(f"http://127.0.0.1:{project.gateway_port}/openapi.json", timeout=10).close()
    eventually(lambda: '"event": "request"' in project.output, "its line")
    assert end(process) == 0, project.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_it_starts(tiny: Make, number: int) -> None:
    """What has been started is stopped in order."""
    project = tiny("unready")
    process = project.start()
    eventually(lambda: project.pid("service"), "the service runs")
    assert end(process, number) == 0, project.output
    assert project.gone()
    assert (project.folder / "data" / "stopped").exists()
    assert "Traceback" not in project.output


def test_the_second_ctrl_c_does_not_wait(tiny: Make) -> None:
    """The first asks; who cannot wait for what is deaf asks again."""
    project = tiny("deaf")
    process = project.start()
    eventually(lambda: "\nRunning." in project.output, "it runs")
    process.send_signal(signal.SIGINT)
    eventually(lambda: "stopping" in project.output and not alive(project.pid("gateway")), "the gateway has stopped")
    assert alive(project.pid("service"))
    assert end(process) == 0
    assert project.gone()
    assert "did not stop within" not in project.output


def test_nobody_reads_its_output(tiny: Make) -> None:
    """As in `bff up | head`: all is stopped in order when the next line cannot be written."""
    project = tiny()
    reading, writing = os.pipe()
    process = project.start(stdout=writing)
    os.close(writing)
    with os.fdopen(reading) as lines:
        for line in lines:
            if line.startswith("Running."):
                break
    assert process.poll() is None
    urllib.request.urlopen(f"http://127.0.0.1:{project.port}/hello", timeout=10).close()
    assert process.wait(40) == 1
    assert project.gone()
    assert (project.folder / "data" / "stopped").exists()
    assert project.output == ""


def test_nobody_reads_its_output_from_the_start(tiny: Make) -> None:
    """Nothing is left behind either."""
    project = tiny()
    reading, writing = os.pipe()
    os.close(reading)
    process = project.start(stdout=writing)
    os.close(writing)
    assert process.wait(40) == 1
    assert project.gone()
    assert (project.folder / "data" / "stopped").exists()
    assert project.output == ""


def test_a_killed_supervisor_leaves_nothing(tiny: Make) -> None:
    """Not what is deaf, nor the children of children."""
    project = tiny("deaf parent")
    process = project.start()
    eventually(lambda: "\nRunning." in project.output, "it runs")
    pids = [project.pid(name) for name in ("service", "gateway", "child")]
    assert all(map(alive, pids))
    assert end(process, signal.SIGKILL) == -9
    eventually(project.gone, "everything is gone")


def test_stopped_while_it_imports(tmp_path: Path, tiny: Make) -> None:
    """A gateway whose app takes its time to import ends with success and without a traceback."""
    project = tiny()
    (tmp_path / "slow.py").write_text("import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(600)\n")
    for number in (signal.SIGINT, signal.SIGTERM):
        process = project.start("serve", "slow:app")
        eventually((tmp_path / "begun").exists, "the import")
        assert end(process, number) == 0
        assert project.output == ""
        (tmp_path / "begun").unlink()


def test_interrupted_while_commands_are_imported(tmp_path: Path, tiny: Make) -> None:
    """Ctrl-C at the very beginning is no traceback."""
    project = tiny()
    (tmp_path / "slow.py").write_text("import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(600)\n")
    with (tmp_path / "pyproject.toml").open("a") as file:
        file.write("[tool.bff.commands]\nslow = 'slow:run'\n")
    process = project.start()
    eventually((tmp_path / "begun").exists, "the import")
    assert end(process) == 130
    assert project.output == ""


def test_a_gateway_has_time_to_finish() -> None:
    """The supervisor kills later than a gateway gives up its requests."""
    assert Settings.model_fields["shutdown_grace"].default < processes.GRACE
