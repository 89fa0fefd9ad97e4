"""Reads an anatomy page as a browser would, and opens it in one."""

import base64
import json
import re
import shutil
import zlib

import numpy as np


def read_page(content):
    """The facts and the arrays of a page."""
    facts = json.loads(re.search(r'<script type="application/json" id="facts">(.*?)</script>', content, re.S).group(1))
    packed = re.search(r'<script type="text/plain" id="numbers">(.*?)</script>', content, re.S).group(1)
    data = zlib.decompress(base64.b64decode(packed))
    return facts, {name: _array(data, **place) for name, place in facts["numbers"].items()}


def _array(data, kind, shape, start):
    count = int(np.prod(shape))
    if kind == "float24":
        planes = np.frombuffer(data, "uint8", 3 * count, start).reshape(3, count).astype("<u4")
        return (planes[0] << 24 | planes[1] << 16 | planes[2] << 8).view("<f4").reshape(shape)
    return np.frombuffer(data, np.dtype(kind).newbyteorder("<"), count, start).reshape(shape)


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
HOSTILE_NAMES = (
    "<img src=x onerror=alert(1)>",
    "a class with a very long name that has to be broken somewhere, as real ones",
    "owl",
)
"""Class names that a page must show as they are, without making it wider."""


def browser(*more):
    """A Chromium without a window, with further arguments; it notes what is said to its console and every request it makes."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--no-first-run", "--lang=en", *more,
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(DRIVER))


def resize(driver, width, height=900):
    """Gives the page a screen."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def find_overflowing(driver, parts, *, unless):
    """The elements that reach out of the part of the page they are in, but for those in the elements `unless`; both CSS selectors."""
    return driver.execute_script(_OVERFLOWING, parts, unless)


_OVERFLOWING = """
const [parts, unless] = arguments, out = [];
for (const one of document.querySelectorAll(parts)) {
  const box = one.getBoundingClientRect();
  for (const inner of one.querySelectorAll("*")) {
    if (inner.closest(unless)) continue;
    const own = inner.getBoundingClientRect();
    if (own.width && (own.right > box.right + 1 || own.left < box.left - 1)) out.push(inner.outerHTML.slice(0, 120));
  }
}
return out;
"""


def requests(driver):
    """The addresses asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
