"""
The file types that Claude reads, detected by their first bytes rather than by their name.

These are five types with five signatures; a library would bring hundreds of others, and is stricter about PDFs than
readers are.
"""

from __future__ import annotations

PDF, PNG, JPEG, GIF, WEBP = "application/pdf", "image/png", "image/jpeg", "image/gif", "image/webp"
ACCEPTED_TEXT = {PDF: "a PDF", PNG: "a PNG image", JPEG: "a JPEG image", GIF: "a GIF image", WEBP: "a WebP image"}
ACCEPTED = "PDF, PNG, JPEG, GIF and WebP are"

#: Number of bytes that are enough to detect the type.
SNIFF_BYTES = 1024


def sniff(start: bytes) -> str | None:
    """The accepted type that a file's first bytes indicate, or None."""
    if b"%PDF-" in start:  # readers allow for junk before it
        return PDF
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if start.startswith(b"\xff\xd8\xff"):
        return JPEG
    if start.startswith((b"GIF87a", b"GIF89a")):
        return GIF

    return WEBP if start[:4] == b"RIFF" and start[8:12] == b"WEBP" else None


def type_problem(detected: str | None, declared: str | None, *, empty: bool) -> str | None:
    """The problem with a file whose type is `detected`, but `declared` by its sender; None if there is none."""
    if empty:
        return "is an empty file"
    if detected is None:
        problem = (
            f"is not {ACCEPTED_TEXT[declared]}, whatever mediaType says"
            if declared
            else "is not a file that Claude reads"
        )
        return f"{problem}: its first bytes indicate another type; {ACCEPTED} accepted"
    if declared and declared != detected:
        return f"is {ACCEPTED_TEXT[detected]}, but mediaType says {declared}: leave mediaType out, or correct it"

    return None
