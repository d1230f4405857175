"""The README's picture: `python docs/picture.py reports/full/20_popularity_eda.html` writes
docs/images/report-*.png.

Needs chromium and chromedriver."""

import shutil
import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

IMAGES = Path(__file__).resolve().parent / "images"
WIDTH, HEIGHT, TALLEST = 1240, 900, 1300  # CSS pixels
FIGURE_END = "return document.querySelector('main .figure svg')?.getBoundingClientRect().bottom"
FLAGS = """--headless=new --no-sandbox --disable-dev-shm-usage --disable-gpu --no-first-run
--disable-background-networking --disable-component-update --disable-sync --disable-quic"""


def chromium(
    *flags: str,  # more of them
    logs: str = "",  # kinds of log to keep, such as "browser performance"
) -> (
    webdriver.Chrome | None
):  # to be closed with quit(); None where chromium or chromedriver is not installed
    "A browser without a window that asks the network for nothing by itself."
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (binary and driver):
        return None
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS.split(), *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", dict.fromkeys(logs.split(), "ALL"))
    return webdriver.Chrome(options=options, service=Service(driver))


def resize(driver: webdriver.Chrome, height: int) -> None:
    metrics = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def take(
    page: Path,  # a report page
    theme: str,  # "light" or "dark"
) -> Path:  # the picture
    "A picture of a report page from its top to the end of its first figure, in one theme."
    if not (driver := chromium("--hide-scrollbars")):
        sys.exit("chromium or chromedriver is not installed")
    try:
        resize(driver, HEIGHT)
        driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": theme}]},
        )
        driver.get(page.resolve().as_uri())
        end = driver.execute_script(FIGURE_END)
        if not end or end > TALLEST:
            sys.exit(f"{page}: the first figure ends at {end} px; expected {TALLEST} at most")
        resize(driver, round(end) + 24)
        target = IMAGES / f"report-{theme}.png"
        driver.save_screenshot(str(target))
        return target
    finally:
        driver.quit()


if __name__ == "__main__":
    for theme in ("light", "dark"):
        made = take(Path(sys.argv[1]), theme)
        print(made, f"{made.stat().st_size / 1000:.0f} kB")
