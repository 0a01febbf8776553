"""Costs through real processes, compared with the upstream's own books and prices."""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_claude import FakeClaude, Seen, answer, bill, head, refusal, started, stopped, written
from tests.support.rig import Rig

pytestmark = pytest.mark.process

MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")


def metered(seen: Seen) -> tuple[Any, ...]:
    """Usage of its own for every call, including caches; the same for the same prompt."""
    dice = random.Random(str(seen.body["messages"]))
    cached = {"cache_read_input_tokens": dice.randrange(50_000), "cache_creation_input_tokens": dice.randrange(9_000)}
    begun = started(seen.body["model"], input_tokens=dice.randrange(1, 90_000), **cached)
    return (head(), begun, *written("ok"), *stopped(output_tokens=dice.randrange(1, 5_000)))


def cents(usd: float | Decimal | None) -> Decimal:
    assert usd is not None
    return round(Decimal(usd), 2)


def key(rig: Rig, name: str, *more: str) -> str:
    done = rig.command("keys", "add", name, *more)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def cost(rig: Rig, *args: str) -> dict[str, Any]:
    report = rig.command("cost", "--json", *args)
    assert report.returncode == 0, report.stderr
    match: dict[str, Any] = json.loads(report.stdout)
    return match


def test_the_ledger_equals_the_upstreams_books_to_the_cent(tmp_path: Path) -> None:
    """By key, model and group, with failed attempts; and the sums outlive the jobs."""
    with FakeClaude(otherwise=metered) as upstream, Rig(tmp_path, upstream=upstream.url).start() as rig:
        upstream.then(*refusal("500 Oops", "api_error"))
        upstream.then(*refusal("529 Overloaded", "overloaded_error", None, ("retry-after", "1")))
        keys = {name: key(rig, name) for name in ("make", "n8n", "shop")}
        for number in range(45):
            owner, model = list(keys)[number % 3], MODELS[number // 3 % 3]
            body = {"prompt": f"{owner} {model} {number}", "requestId": f"r-{number}", "group": f"g{number % 2}"}
            answered = rig.submit({**body, "options": {"model": model}}, **{"X-API-Key": keys[owner]})
            assert answered.status_code == 202
        assert {rig.finished(f"r-{number}")["status"] for number in range(45)} == {"completed"}

        books: dict[tuple[str, str], list[Seen]] = defaultdict(list)
        for seen in upstream.books:
            owner, model, _ = str(seen.body["messages"][0]["content"]).split()
            books["key", owner].append(seen)
            books["model", model].append(seen)
        by_key, by_model = cost(rig, "--by", "key"), cost(rig, "--by", "model")
        for by, report in (("key", by_key), ("model", by_model)):
            assert len(report["rows"]) == 3
            for row in report["rows"]:
                theirs = books[by, row[by]]
                assert row["costUsd"] == pytest.approx(float(bill(theirs)), abs=1e-9)
                assert row["calls"] == len(theirs)
                assert row["outputTokens"] == sum(seen.usage.get("output_tokens", 0) for seen in theirs)
        for total in (by_key["total"], by_model["total"], cost(rig, "--by", "group", "--since", "2h")["total"]):
            assert cents(total["costUsd"]) == cents(bill(upstream.books))
            assert (total["calls"], total["unpricedCalls"]) == (47, 0)
        report = [rig.status(f"r-{number}")["costUsd"] for number in range(45)]
        assert sum(report) == pytest.approx(float(bill(upstream.books)), abs=1e-9)

        remote = rig.command("--url", rig.url, "cost", "--by", "day", RELAY_API_KEY=keys["make"]).stdout.splitlines()
        spent = sum(float(line.split("\t")[-1]) for line in remote)  # two lines around midnight
        assert spent == pytest.approx(float(bill(books["key", "make"])))


def test_a_tiny_cost_is_not_rounded_to_zero(tmp_path: Path) -> None:
    with FakeClaude() as upstream, Rig(tmp_path, upstream=upstream.url).start() as rig:
        upstream.then(*answer("x", model="claude-haiku-5-5", output_tokens=1))
        rig.submit({"prompt": "x", "requestId": "r-1", "options": {"model": "cheap"}})

        assert rig.finished("r-1")["costUsd"] == 0.0000015
        assert rig.command("cost").stdout.split("\t")[-1].strip() == "0.0000015"


def test_the_ledger_equals_the_sandboxes_books_caches_and_batches_included(tmp_path: Path) -> None:
    """The sandbox counts and prices by itself: each job's costUsd equals its entry there."""
    with Rig(tmp_path, RELAY_BATCH_LINGER="1s", RELAY_BATCH_POLL="1s").start() as rig:
        long = "You are a clerk who reads invoices with great care. " * 400
        for number in range(8):
            options = {"model": MODELS[number % 2], "systemPrompt": long, "maxTokens": 50 + number}
            mode = "batch" if number in (5, 6) else "live"
            rig.submit({"prompt": f"invoice {number}", "requestId": f"r-{number}", "options": options, "mode": mode})
            rig.finished(f"r-{number}", within=60)
        shared = {"model": MODELS[0], "systemPrompt": f"{long} All of one batch.", "maxTokens": 40}
        for number in range(8, 13):
            rig.submit({"prompt": str(number), "requestId": f"r-{number}", "options": shared, "mode": "batch"})
        for number in range(8, 13):
            rig.finished(f"r-{number}", within=60)
        match = re.search(r"http://127\.0\.0\.1:\d+", rig.worker.output())
        assert match is not None
        books = [call for call in rig.http.get(f"{match[0]}/sandbox/books", timeout=60).json() if call["message_id"]]
        costs = sorted(rig.status(f"r-{number}")["costUsd"] for number in range(13))

        assert costs == pytest.approx(sorted(call["usd"] for call in books), abs=1e-12)
        assert cost(rig)["total"]["costUsd"] == pytest.approx(sum(call["usd"] for call in books), abs=1e-9)
        for batched in (True, False):
            read = [call["cache_read_tokens"] for call in books if (call["batch_id"] is not None) is batched]
            assert any(read), "no cache was met: the test shows less than it says"
        assert sum(call["batch_id"] is not None for call in books) == 7
