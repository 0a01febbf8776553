"""
An A4 page with text at fixed positions, and Norwegian formats of numbers and dates.

The core fonts of PDF have Latin-1, which is enough for æøå, « » and §. Streams stay uncompressed, so that the bytes do
not depend on a zlib, and the date is given: the same content makes the same file with the same version of fpdf2, which
is named in the file.
"""

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from fpdf import FPDF, FPDF_VERSION

Color = tuple[int, int, int]

INK, MUTED, RULE, TINT = (33, 37, 41), (105, 114, 122), (205, 211, 216), (240, 245, 246)
ACCENT, WHITE = (17, 94, 103), (255, 255, 255)
LEFT, RIGHT, WIDTH = 18.0, 192.0, 174.0


def kroner(amount: Decimal) -> str:
    """12 345,60, with non-breaking spaces."""
    return f"{amount:,.2f}".replace(",", "\u00a0").replace(".", ",")


def plain(number: Decimal) -> str:
    """A quantity or rate without trailing zeros: 36, 6,5 and 7,35."""
    return f"{number.normalize():f}".replace(".", ",")


def day(value: date) -> str:
    """A date in the Norwegian format."""
    return f"{value:%d.%m.%Y}"


def grouped(text: str, size: int) -> str:
    """Digits in groups, with non-breaking spaces."""
    return "\u00a0".join(text[start : start + size] for start in range(0, len(text), size))


class Paper(FPDF):
    """A4 with margins, one typeface and few colours."""

    def __init__(self, *, title: str, author: str, created: datetime) -> None:
        super().__init__(format="A4")
        self.set_compression(False)
        self.set_auto_page_break(False)
        self.set_margins(LEFT, 14, 210 - RIGHT)
        self.created = created
        self.set_creation_date(created)
        self.set_title(title)
        self.set_author(author)
        self.set_producer(f"fpdf2 {FPDF_VERSION}")
        self.set_lang("nb-NO")

    def put(
        self,
        x: float,
        y: float,
        text: str,
        *,
        w: float = 80,
        align: str = "L",
        size: float = 9,
        bold: bool = False,
        color: Color = INK,
    ) -> None:
        """One line of text in a box that starts at x and y."""
        self.set_font("Helvetica", "B" if bold else "", size)
        self.set_text_color(*color)
        self.set_xy(x, y)
        self.cell(w, size * 0.5, text, align=align)

    def attach(self, value: dict[str, Any]) -> None:
        """Embed a value as a JSON file."""
        data = json.dumps(value, ensure_ascii=False).encode()
        self.embed_file(bytes=data, basename="sandbox-answer.json", modification_date=self.created, checksum=False)

    def label(self, x: float, y: float, text: str, *, w: float = 80, align: str = "L") -> None:
        """A small grey label above or beside a value."""
        self.put(x, y, text, w=w, align=align, size=7.5, color=MUTED)

    def rule(self, y: float, *, to: float = RIGHT) -> None:
        """A hairline from the left margin."""
        self.set_draw_color(*RULE)
        self.set_line_width(0.2)
        self.line(LEFT, y, to, y)

    def block(self, x: float, y: float, w: float, h: float, color: Color) -> None:
        """A filled box."""
        self.set_fill_color(*color)
        self.rect(x, y, w, h, style="F")
