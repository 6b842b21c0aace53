"""Prints the path of the Chromium that the browser tests use, and gets one where there is none.

In this order: $CHROMIUM, an installed chromium or chrome, apt when we are root, Playwright's own download.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def installed() -> str | None:
    if MAC.exists():
        return str(MAC)
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def by_apt() -> str | None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    for step in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"]):
        if subprocess.run(["apt-get", *step], check=False, stdout=sys.stderr).returncode:
            return None
    return installed()


def by_playwright() -> str | None:
    from playwright.sync_api import sync_playwright

    if subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], stdout=sys.stderr).returncode:
        return None
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def main() -> None:
    given = os.environ.get("CHROMIUM")
    if given and not Path(given).exists():
        sys.exit(f"CHROMIUM names a program that is not there: {given}")
    found = given or installed() or by_apt() or by_playwright()
    if not found:
        sys.exit("The browser tests need Chromium or Chrome: install one, or name it in CHROMIUM.")
    print(found)  # noqa: T201  # a command's output


if __name__ == "__main__":
    main()
