"""
Lighthouse on the pages of a real relay: `python -m tests.browser.lighthouse` (npm and chromium; on an idle machine).

Ends with 1 if performance, accessibility or best practices of a page is below 95.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.needs import needs
from tests.support.rig import KEY, Rig

PAGES = (
    "/login",
    "",
    "/jobs",
    "/jobs/looked-at",
    "/collections",
    "/templates",
    "/groups",
    "/destinations",
    "/keys",
    "/money",
    "/try",
)
LEAST = 0.95


def main() -> int:
    low = False
    with tempfile.TemporaryDirectory() as folder, Rig(Path(folder)) as rig:
        rig.start()
        rig.submit({"requestId": "looked-at", "prompt": "Hei"})
        rig.finished("looked-at")
        for page in PAGES:
            scores = run(f"{rig.url}/dashboard{page}")
            low = low or min(scores.values()) < LEAST
            print(
                f"{page or '/'}: " + ", ".join(f"{name} {score * 100:.0f}" for name, score in scores.items()),
                flush=True,
            )

    return int(low)


def run(url: str) -> dict[str, float]:
    """The scores of a page by category, from 0 to 1."""
    args = [
        *(needs("npm"), "exec", "--yes", "--", "lighthouse@12", url, "--quiet", "--output=json"),
        "--chrome-flags=--headless --no-sandbox",
        f"--extra-headers={json.dumps({'X-API-Key': KEY})}",
        "--only-categories=performance,accessibility,best-practices",
    ]
    environment = {**os.environ, "CHROME_PATH": needs("chromium")}
    done = subprocess.run(args, env=environment, capture_output=True, text=True, timeout=300, check=True)

    return {name: category["score"] for name, category in json.loads(done.stdout)["categories"].items()}


if __name__ == "__main__":
    sys.exit(main())
