"""A real Chromium without a window, driven by Selenium; Debian's chromium and chromium-driver.

tests/real/install-chromium gets both. Nothing is asked of the network: Selenium is told where the
programs are, so that it does not look for others.
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import (
    presence_of_element_located,
    staleness_of,
)
from selenium.webdriver.support.wait import WebDriverWait

from tests import leaks

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
WIDE, PHONE = 1000, 390  # CSS pixels
PATIENCE = 20.0  # seconds until a page is there


@contextmanager
def chromium() -> Iterator[Chromium]:
    """Start one; it keeps nothing. Skips the test where there is none."""
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    browser, driver = next(filter(None, found), None), shutil.which("chromedriver")
    if browser is None or driver is None:
        missing = "no chromium and chromedriver: run tests/real/install-chromium"
        if os.environ.get("TEST_REQUIRE_REAL"):
            pytest.fail(missing)
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as running:
        yield Chromium(running)


class Chromium:
    """What the tests want of it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self._wait = WebDriverWait(driver, PATIENCE)

    def sign_in(self, address: str, token: str | None) -> None:
        """Put a token where Headlamp keeps it: in the cookie of its cluster ``main``, alone."""
        self.cdp("Network.clearBrowserCookies")
        if token is not None:
            self.cdp(
                "Network.setCookie",
                url=f"{address}/clusters/main",
                name="headlamp-auth-main.0",
                value=token,
                path="/clusters/main",
                httpOnly=True,
                sameSite="Strict",
            )

    def look(self, *, scheme: Scheme = "light", width: int = WIDE) -> None:
        """Be a screen of that width, whose user likes that scheme."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.cdp("Emulation.setEmulatedMedia", features=[feature])
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=2,
            mobile=width < WIDE,
        )

    def open(self, url: str) -> None:
        self.driver.get(url)
        leaks.search({url: self.driver.page_source.encode()})

    def follow(self, css: str) -> None:
        """Click on what leads to another page, and wait until this one is left."""
        left = self.one("html")
        self.one(css).click()
        self._wait.until(staleness_of(left))

    def text(self, css: str = "body") -> str:
        return self.one(css).text

    def one(self, css: str) -> WebElement:
        """Wait for an element: a page that a click or ``back`` leads to comes when it comes."""
        return self._wait.until(presence_of_element_located((By.CSS_SELECTOR, css)))

    def all(self, css: str) -> list[WebElement]:
        """Return those that there are now: a test first waits for what is on the page for sure."""
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script of the test's own: a policy binds the page's, not the driver's."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """What the console has said since it was last asked."""
        found = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [str(entry["message"]) for entry in found]

    def picture(self) -> bytes:
        """The whole page as a PNG."""
        answer = self.cdp("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def cdp(self, command: str, **parameters: Any) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self.driver.execute_cdp_cmd(command, parameters)
        return answer
