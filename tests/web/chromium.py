"""Headless Chromium, and everything that it got to see."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Chromium", "chromium"]

STORAGE = """
const [done] = arguments
const dump = storage => JSON.stringify(Object.entries(storage))
Promise.all([indexedDB.databases(), caches.keys(), navigator.serviceWorker.getRegistrations()]).then(
  ([databases, kept, workers]) => done(JSON.stringify({
    local: dump(localStorage), session: dump(sessionStorage), cookie: document.cookie, name: window.name,
    databases: databases.length, caches: kept.length, workers: workers.length, globals: Object.keys(window).join()})))
"""
FETCH = """
const [url, options, done] = arguments
fetch(url, options).then(
  async answer => done([answer.status, answer.type === 'opaque' ? '' : await answer.text()]),
  error => done([0, String(error)]))
"""


class Chromium:
    """A driver, and the log of what went over its network."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.seen: list[str] = []

    def open(self, url: str) -> None:
        self.driver.get(url)
        self.note()

    def click(self, css: str) -> None:
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support.ui import WebDriverWait

        element = WebDriverWait(self.driver, 20).until(lambda driver: driver.find_element(By.CSS_SELECTOR, css))
        self.driver.execute_script("window.leaving = true")
        element.click()
        self.wait("!window.leaving && document.readyState === 'complete'")
        self.note()

    def type(self, css: str, text: str) -> None:
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.CSS_SELECTOR, css).send_keys(text)

    def wait(self, script: str) -> None:
        """Until it is true, whatever page it is that is there by then: one that is being left answers with errors."""
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.support.ui import WebDriverWait

        patient = WebDriverWait(self.driver, 20, ignored_exceptions=[WebDriverException])
        patient.until(lambda driver: driver.execute_script(f"return {script}"))

    def fetch(self, url: str, **options: Any) -> tuple[int, str]:
        """Status (0: not allowed to see one) and body."""
        status, text = self.driver.execute_async_script(FETCH, url, options)
        self.note()
        return status, text

    def storage(self) -> dict[str, Any]:
        """What scripts of the page can see of what is kept."""
        found = self.driver.execute_async_script(STORAGE)
        self.seen.append(found)
        kept: dict[str, Any] = json.loads(found)
        return kept

    def forget(self, *origins: str) -> None:
        """Be as new: one empty tab, no cookies, nothing cached, nothing kept for ``origins``, nothing seen."""
        old = self.driver.window_handles
        self.driver.switch_to.new_window("tab")
        new = self.driver.current_window_handle
        for handle in old:
            self.driver.switch_to.window(handle)
            self.driver.close()
        self.driver.switch_to.window(new)
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        self.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        for origin in origins:
            self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
        assert self.driver.execute_cdp_cmd("Network.getAllCookies", {})["cookies"] == []
        self.driver.get_log("performance")
        self.seen = []

    def note(self) -> None:
        """Write down page, requests and answers, with their headers and bodies."""
        self.seen.append(self.driver.page_source)
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            self.seen.append(json.dumps(message))
            if message["method"] == "Network.loadingFinished":
                self.seen.append(self._body(message["params"]["requestId"]))

    def _body(self, request_id: str) -> str:
        from selenium.common.exceptions import WebDriverException

        try:
            return str(self.driver.execute_cdp_cmd("Network.getResponseBody", {"requestId": request_id})["body"])
        except WebDriverException:  # of a redirect, or of a page that was left
            return ""


@contextmanager
def chromium(profile: Path) -> Iterator[Chromium]:
    """Running, with every ``*.test`` on this machine; skips the test when it is not installed."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (pip install selenium)")
    from selenium.webdriver.chrome.service import Service

    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("Chromium is not installed (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.accept_insecure_certs = True
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-features=HttpsUpgrades,LocalNetworkAccessChecks",
        "--host-resolver-rules=MAP *.test 127.0.0.1",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    running = webdriver.Chrome(options=options, service=Service(driver))
    try:
        running.execute_cdp_cmd("Network.enable", {})
        yield Chromium(running)
    finally:
        running.quit()
