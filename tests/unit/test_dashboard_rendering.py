"""Filters of the dashboard's templates, and the geometry of its plots."""

from __future__ import annotations

import random

import pytest

from claude_relay.core.jobs.job import State
from claude_relay.dashboard.plots import HEIGHT, WIDTH, buckets, plots, spend_plot
from claude_relay.dashboard.rendering import age, environment, money, size, visible
from claude_relay.ports import FinishedJob
from claude_relay.services import History


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain æøå 🎈 עברית", "plain æøå 🎈 עברית"),
        ("\x1b[31m", "⟨U+001B⟩[31m"),
        ("\u202eevil\u2066", "⟨U+202E⟩evil⟨U+2066⟩"),
        ("a\x00b\u200bc\ufeff", "a⟨U+0000⟩b⟨U+200B⟩c⟨U+FEFF⟩"),
        ("line\r\nline\ttab\rx", "line\nline\ttab⟨U+000D⟩x"),
        ("\ud800 \U000e0041", "⟨U+D800⟩ ⟨U+E0041⟩"),
    ],
)
def test_characters_that_could_deceive_are_written_out(text, shown):
    """And what people write in any language is not."""
    assert visible(text) == shown


def test_whatever_a_template_prints_is_escaped_and_visible():
    page = environment(str).from_string("<p title='{{ text }}'>{{ text }}{{ absent }}</p>{{ text | unchanged }}")

    assert page.render(text="<b>'\u202e", absent=None) == (
        "<p title='&lt;b&gt;&#39;⟨U+202E⟩'>&lt;b&gt;&#39;⟨U+202E⟩–</p>&lt;b&gt;&#39;\u202e"
    )


@pytest.mark.parametrize(
    "usd, shown",
    [(None, "–"), (0, "$0"), (1234.5, "$1,234.50"), (0.01, "$0.01"), (0.00042, "$0.00042"), (3e-9, "$0.0000000030")],
)
def test_money_is_never_rounded_to_nothing(usd, shown):
    assert money(usd) == shown


@pytest.mark.parametrize(
    "seconds, shown, short",
    [(None, "–", "–"), (0, "0 s", "0 s"), (2.13, "2.1 s", "2.1 s"), (59, "59 s", "59 s"), (61, "1 min 1 s", "1 min"),
     (7500, "2 h 5 min", "2.1 h"), (180_000, "2 d 2 h", "2.1 d"), (-5, "0 s", "0 s")],
)  # fmt: skip
def test_ages(seconds, shown, short):
    assert (age(seconds).replace("\xa0", " "), age(seconds, 1).replace("\xa0", " ")) == (shown, short)


def test_sizes():
    assert [size(count) for count in (None, 3, 12_345, 123_456, 4_000_000)] == [
        "–",
        "3 B",
        "12.3 kB",
        "123 kB",
        "4.0 MB",
    ]


def a_history(seconds: float, count: int) -> History:
    rng = random.Random(7)
    until = 1_800_000_000.0
    ends = sorted((until - rng.random() * seconds for _ in range(count)), reverse=True)
    states = (State.COMPLETED, State.FAILED, State.CANCELLED)
    jobs = [
        FinishedJob(
            finished_at=end, started_at=end - rng.random() * 90, state=rng.choice(states), cost_usd=rng.random()
        )
        for end in ends
    ]
    return History(jobs=jobs, since=until - seconds, until=until, complete=True)


@pytest.mark.parametrize("seconds, count", [(86_400, 500), (86_400, 0), (40, 2000), (5, 1), (7200, 3)])
def test_every_job_is_in_one_bucket_and_every_mark_inside_the_plot(seconds, count):
    history = a_history(seconds, count)
    rows, step = buckets(history)
    assert sum(row.completed + row.failed for row in rows) == count
    assert 1 <= len(rows) <= 50 and step % 60 == 0
    for plot in plots(rows):
        for bar in plot.bars:
            assert 0 <= bar.x and bar.x + bar.width <= WIDTH and 0 <= bar.y and bar.y + bar.height <= HEIGHT
        assert all(0 <= x <= WIDTH for x, _ in plot.across) and all(0 <= y <= HEIGHT for y, _ in plot.up)
        assert "nan" not in "".join(line.path for line in plot.lines)


def test_a_plot_of_nothing_has_axes_all_the_same():
    plot = spend_plot([("2026-01-01", 0.0)])

    assert (plot.bars, [label for _, label in plot.up]) == ([], ["$0", "$0.50", "$1.00"])
