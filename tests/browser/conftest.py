"""One chromium, and one relay with the sandbox and a receiver, for all tests in a browser."""

from __future__ import annotations

import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.needs import lacks, needs
from tests.support.receiver import Receiver
from tests.support.rig import Rig

expect.set_options(timeout=60_000)  # a busy machine answers late, and rightly

#: What a page must never say on its console: violations of the policy, missing files, faults of a script.
_ALLOWED = tuple(f"the server responded with a status of {status}" for status in (400, 403, 404))


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    needs("chromium")
    with Rig(tmp_path_factory.mktemp("relay")) as rig:
        yield rig.start()


@pytest.fixture(scope="module")
def browser(rig: Rig) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Without its sandbox, as tests may run as root; only pages of this machine are opened.
        browser = playwright.chromium.launch(executable_path=needs("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, from npm."""
    npm, folder = needs("npm"), tmp_path_factory.mktemp("axe")
    for left in (2, 1, 0):
        done = subprocess.run(
            [npm, "pack", "--silent", "axe-core@4"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=100,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode == 0:
            break
        if not left:
            lacks(f"npm could not fetch axe-core: {done.stderr.strip().splitlines()[-1:]}")
        time.sleep(2)
    [archive] = Path(folder).glob("axe-core-*.tgz")
    with tarfile.open(archive) as tar:
        file = tar.extractfile("package/axe.min.js")
        assert file is not None

        return file.read().decode()


@pytest.fixture
def open_page(browser: Browser, rig: Rig) -> Iterator[Any]:
    """Open windows with these options; none may show a dialog, or complain on its console."""
    complaints: list[str] = []
    contexts = []

    def open_page(**options: Any) -> Page:
        context = browser.new_context(base_url=rig.url, **options)
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)

        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in complaints if not any(allowed in text for allowed in _ALLOWED)] == []


@pytest.fixture
def page(open_page: Any) -> Page:
    return open_page()
