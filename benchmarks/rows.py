"""The rows of the table: a figure, its target, and whether it is met."""

from __future__ import annotations

import operator
from dataclasses import dataclass

_COMPARISONS = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True, kw_only=True)
class Row:
    """
    One figure. `target` is written as `>= 0.7`; without one it is only reported.

    `spread` are the smallest and the largest figure of the rounds.
    """

    name: str
    value: float
    unit: str = ""
    target: str = ""
    spread: tuple[float, float] | None = None

    @property
    def verdict(self) -> str:
        """`met`, `missed`, or nothing without a target."""
        if not self.target:
            return ""
        sign, _, limit = self.target.partition(" ")

        return "met" if _COMPARISONS[sign](self.value, float(limit)) else "missed"

    def cells(self) -> tuple[str, ...]:
        """The row as it is printed."""
        spread = "" if self.spread is None else f"{self.spread[0]:,.4g} to {self.spread[1]:,.4g}"

        return self.name, f"{self.value:,.4g}{self.unit and f' {self.unit}'}", spread, self.target, self.verdict


HEADINGS = ("measured", "median", "range", "target", "")


def text_table(rows: list[Row]) -> str:
    """The rows with aligned columns."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]

    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def markdown_table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells() for row in rows)]

    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
