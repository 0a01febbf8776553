"""The text of one call as it arrives, with its offsets, for the streams of this machine."""

from __future__ import annotations

from ..ports import TextPiece, TextSink


class TextWriter:
    """Counts code points. Half a surrogate pair is held back until its other half has come."""

    def __init__(self, sink: TextSink, job_id: str, call: int) -> None:
        self._sink, self._job_id, self.call = sink, job_id, call
        self._offset = 0
        self._half = ""

    def write(self, text: str) -> None:
        """Pass a piece on."""
        if self._half:
            text = (self._half + text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            self._half = ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        if text:
            self._sink.put(TextPiece(job_id=self._job_id, call=self.call, offset=self._offset, text=text))
            self._offset += len(text)
