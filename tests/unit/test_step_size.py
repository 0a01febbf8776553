"""The size of the next step of long work."""

from __future__ import annotations

from claude_relay.core.step_size import StepSize

STEP = StepSize(size=8, least=8, most=64, seconds=0.02)


def test_short_steps_grow_and_long_ones_shrink_within_their_limits() -> None:
    assert [STEP.after(took).size for took in (0.001, 0.015, 0.021, 9.0)] == [16, 8, 8, 8]
    large = STEP.after(0).after(0).after(0).after(0)
    assert large.size == 64
    assert [large.after(took).size for took in (0.001, 0.015, 0.021)] == [64, 64, 32]


def test_a_step_that_costs_so_much_a_row_settles_below_its_time() -> None:
    """At 0.3 ms a row and four for a sync, 32 rows take 14 ms."""
    step, sizes = STEP, []
    for _ in range(20):
        sizes.append(step.size)
        step = step.after(0.004 + 0.0003 * step.size)

    assert set(sizes[3:]) == {32}
