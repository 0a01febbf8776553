"""
Pictures of each page for docs/, light and dark, wide and narrow, with ten jobs and with a million.

    python -m tests.browser.screenshots docs/images/dashboard [--jobs 1000000] [--keep FOLDER]

The first relay is real, with the sandbox and a receiver; the second serves a store of copies. `--keep` uses that store
again. Chromium itself encodes the pictures, as WebP.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from claude_relay.core.policy import Policy
from claude_relay.services import Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier
from tests.support.eventually import eventually
from tests.support.many_jobs import fill
from tests.support.needs import needs
from tests.support.receiver import Answer, Receiver
from tests.support.rig import KEY, Rig

PAGES = {
    "overview": "",
    "jobs": "/jobs",
    "groups": "/groups",
    "destinations": "/destinations",
    "keys": "/keys",
    "money": "/money",
    "try": "/try",
    "collections": "/collections",
    "templates": "/templates",
}
WIDE, NARROW = (1280, 900), (390, 844)
INVOICE = {"type": "object", "properties": {"number": {"type": "string"}, "total": {"type": "number"}}}
_WEBP = """async ([data, quality]) => {
  const image = new Image(); image.src = "data:image/png;base64," + data; await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height); canvas.getContext("2d").drawImage(image, 0, 0);
  const bytes = new Uint8Array(await (await canvas.convertToBlob({type: "image/webp", quality})).arrayBuffer());
  let text = ""; for (const byte of bytes) text += String.fromCharCode(byte); return btoa(text); }"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--only", default="", help="few or many")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=needs("chromium"), args=["--no-sandbox"])
        if args.only != "many":
            few(browser, Path(folder) / "few", args.folder)
        if args.only != "few":
            many(browser, args.keep or Path(folder) / "many", args.folder, args.jobs)
        browser.close()


def few(browser: Browser, folder: Path, to: Path) -> None:
    """Ten jobs of several kinds, with things that need a person."""
    folder.mkdir(parents=True)
    with Receiver() as hook, Rig(folder, RELAY_CONCURRENCY="4") as rig:
        rig.start()
        hook.answer("/refused", Answer(status=410, body=b"Gone"))
        rig.command("keys", "add", "make-invoices", "--budget", "5")
        rig.command("keys", "add", "support", "--scope", "read")
        body = {"prompt": "Read the attached invoice. Return number and total.", "options": {"outputSchema": INVOICE}}
        url = hook.url("/hooks/invoices")
        for number in range(1, 5):
            rig.submit({**body, "requestId": f"invoice-2026-{number:03}", "webhookUrl": url, "group": "invoices"})
        rig.submit({"requestId": "letter-17", "prompt": "Answer this letter.", "webhookUrl": hook.url("/refused")})
        rig.submit({"requestId": "broken-1", "prompt": "[sandbox: error 400]", "webhookUrl": url})
        for name in ("invoice-2026-004", "letter-17", "broken-1"):
            rig.finished(name, within=180)
        eventually(lambda: rig.get("/api/overview")["deliveries"]["dead"] == 1)
        rig.http.put(
            f"{rig.url}/api/templates/ticket",
            json={"body": {"prompt": "Classify: {{text}}"}, "shared": True},
            timeout=9,
        )
        table = {"collectionId": "tickets-march", "template": "ticket", "rows": [{"text": "It is late"}] * 3}
        rig.post("/api/collections", table)
        eventually(lambda: rig.get("/api/collections/tickets-march")["status"] == "completed")
        rig.post("/api/groups/reports", {"concurrency": 1})
        story = {"prompt": "[sandbox: slow 9m] [sandbox: long 9000] Tell of the sea.", "group": "reports"}
        rig.submit({**story, "requestId": "report-march"})
        rig.submit({**story, "requestId": "report-april"})
        rig.post("/api/groups/nightly/pause")
        eventually(lambda: rig.status("report-march")["status"] == "processing")
        take(browser, rig.url, to, "few", job="invoice-2026-001", running="report-march")


def many(browser: Browser, folder: Path, to: Path, jobs: int) -> None:
    """Copies of finished jobs, and a tenth as many that wait; no worker runs."""
    rig = Rig(folder)
    store = folder / "store" / "relay.db"
    if not store.exists():
        store.parent.mkdir(parents=True)
        relay = Relay(SqliteStore(store), QuietNotifier(), Policy(delivery_delay=0.0, max_queue=10**9))
        fill(relay, relay._store, finished=jobs, waiting=jobs // 10)
        relay.close()
    for log in folder.glob("serve-*.log"):
        log.unlink()  # of an earlier run with the same store
    rig.patience = 180.0
    with rig:
        rig.start_api()
        take(browser, rig.url, to, "many", job="done-0000000003")


def take(browser: Browser, url: str, to: Path, name: str, *, job: str, running: str | None = None) -> None:
    """Every page in both colour schemes: wide, and, of the few that matter there, narrow."""
    pages = {**PAGES, "job": f"/jobs/{job}"} | ({"running": f"/jobs/{running}"} if running else {})
    for scheme, (width, height) in itertools.product(("light", "dark"), (WIDE, NARROW)):
        wide = width == WIDE[0]
        context = browser.new_context(
            base_url=url, viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1
        )
        page, blank = context.new_page(), context.new_page()
        page.goto("/dashboard/login")
        kind = f"{scheme}-{'wide' if wide else 'narrow'}"
        if name == "few":
            save(page, blank, to / f"login-{kind}.webp")
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("heading", name="Overview").wait_for()
        for title, path in pages.items():
            page.goto(f"/dashboard{path}")
            save(page, blank, to / f"{title}-{name}-{kind}.webp")
        context.close()


def save(page: Page, blank: Page, path: Path) -> None:
    """The beginning of the page: at most two screens of it."""
    size: Any = page.viewport_size
    high = min(page.evaluate("document.documentElement.scrollHeight"), 2 * size["height"])
    picture = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": size["width"], "height": high})
    path.write_bytes(base64.b64decode(blank.evaluate(_WEBP, [base64.b64encode(picture).decode(), 0.7])))


if __name__ == "__main__":
    main()
