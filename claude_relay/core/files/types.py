"""
Which files Claude reads, and how each is known: by its first bytes rather than by its name.

Five kinds with five signatures; a library would bring hundreds of others, and would take for a PDF only what readers
do not insist on.
"""

from __future__ import annotations

PDF, PNG, JPEG, GIF, WEBP = "application/pdf", "image/png", "image/jpeg", "image/gif", "image/webp"
ACCEPTED_TEXT = {PDF: "a PDF", PNG: "a PNG image", JPEG: "a JPEG image", GIF: "a GIF image", WEBP: "a WebP image"}
ACCEPTED = "PDF, PNG, JPEG, GIF and WebP are"

#: So many bytes of a file are enough to know it.
SNIFF_BYTES = 1024


def sniff(start: bytes) -> str | None:
    """The type that a file's first bytes tell, among those that are taken."""
    if b"%PDF-" in start:  # readers allow for junk before it
        return PDF
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if start.startswith(b"\xff\xd8\xff"):
        return JPEG
    if start.startswith((b"GIF87a", b"GIF89a")):
        return GIF

    return WEBP if start[:4] == b"RIFF" and start[8:12] == b"WEBP" else None


def type_problem(found: str | None, declared: str | None, *, empty: bool) -> str | None:
    """What is wrong with a file whose bytes tell `found` where its sender says `declared`; None where nothing is."""
    if empty:
        return "is an empty file"
    if found is None:
        named = (
            f"is not {ACCEPTED_TEXT[declared]}, whatever mediaType says" if declared else "is no file that Claude reads"
        )
        return f"{named}: by its first bytes it is something else; {ACCEPTED} taken"
    if declared and declared != found:
        return f"is {ACCEPTED_TEXT[found]}, but mediaType says {declared}: leave mediaType out, or mend it"

    return None
