"""An answer on stdout while it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .output import Output


class TextPrinter:
    """Prints each character of a call once; another call begins on a new line."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._call, self.shown = 0, 0
        self._last = ""

    def print(self, data: dict[str, Any]) -> None:
        """Print what is new in a `text` event."""
        if data["call"] != self._call:
            if self.shown:
                self._output.line()
                self._output.message("The call was made again: the answer begins again.")
            self._call, self.shown = data["call"], 0
        self._write(data["text"][max(0, self.shown - data["offset"]) :])

    def print_rest(self, text: str) -> None:
        """Print the rest of the complete text, and a line break if it has none."""
        self._write(text[self.shown :])
        if self._last and self._last != "\n":
            self._output.line()

    def _write(self, text: str) -> None:
        if text:
            self._output.write(text)
            self.shown += len(text)
            self._last = text[-1]
