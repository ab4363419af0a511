"""A real Chromium without a window, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

__all__ = ["Tab", "chromium", "open_browser", "tab"]


def chromium() -> str | None:
    """Where it is, None where there is none."""
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


LEFT = ("navigated or closed", "execution context")
"""What a browser says of a page that was left while it was asked."""


class Left(AssertionError):
    """The page was left while it was asked."""


class Tab:
    """One tab. ``problems`` are what its console would show in red, violations of the content security policy too;
    ``requests`` are the URLs it asked for."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.problems: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **parameters: Any) -> Any:
        """Send a command and wait for its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=20))
            if message.get("id") == self._number:
                if "error" in message:
                    text = f"{method}: {message['error']}"
                    raise Left(text) if any(sign in text for sign in LEFT) else AssertionError(text)
                return message["result"]
            self._heard(message)

    def _heard(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        elif message["method"] == "Runtime.exceptionThrown":
            self.problems.append(str(parameters["exceptionDetails"]))
        elif message["method"] == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str, what: str) -> Any:
        """Poll an expression until it is true, up to ten seconds, whatever page it is that is there by then."""
        for _ in range(200):
            with suppress(Left):
                value = self.run(script)
                if value:
                    return value
            time.sleep(0.05)
        raise AssertionError(f"never happened: {what}; problems: {self.problems}")

    def look(self, url: str, *, dark: bool = False, width: int = 1280, height: int = 900) -> None:
        """Open ``url`` in a window of this size."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.do("Emulation.setEmulatedMedia", features=[scheme])
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.do("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href === {json.dumps(url)}", f"{url} is loaded")

    def forget(self) -> None:
        """Leave the page (one whose server has gone asks for it again and again), and what was seen of it."""
        self.do("Page.navigate", url="about:blank")
        self.until("location.href === 'about:blank'", "the page is left")
        self.problems.clear()
        self.requests.clear()

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        """What is to be seen, as PNG."""
        picture = self.do("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(picture["data"]))


@contextmanager
def open_browser(binary: str, profile: Path) -> Iterator[Tab]:
    """A fresh browser with one tab; gone afterwards."""
    process = subprocess.Popen(
        [
            binary,
            "--headless=new",
            "--no-sandbox",  # the tests may run as root; they open pages of their own only
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = _port(process, profile / "DevToolsActivePort")
        pages = [page for page in httpx.get(f"http://127.0.0.1:{port}/json").json() if page["type"] == "page"]
        with connect(pages[0]["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(process: subprocess.Popen[bytes], file: Path) -> int:
    for _ in range(400):
        assert process.poll() is None, "Chromium ended while it was starting"
        if file.is_file() and "\n" in (text := file.read_text()):
            return int(text.splitlines()[0])
        time.sleep(0.05)
    raise AssertionError("Chromium did not start")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """The tab of a browser that the tests of a file share."""
    binary = chromium()
    if binary is None:
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    with open_browser(binary, tmp_path_factory.mktemp("profile")) as tab:
        yield tab
