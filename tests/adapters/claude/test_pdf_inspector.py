"""PDF inspection in a separate process, whose death does not affect the worker."""

from __future__ import annotations

import sys
import threading
import time
import zlib
from pathlib import Path

import pytest

from claude_relay.claude.pdf_inspector import PdfInfo, PdfInspector
from tests.support.pdfs import a_pdf

INVOICE = Path(__file__).parents[3] / "examples" / "faktura" / "faktura.pdf"


@pytest.fixture
def inspector():
    inspector = PdfInspector()
    yield inspector
    inspector.close()


def a_bomb() -> bytes:
    """An object stream of little that unpacks to hundreds of megabytes."""
    packer = zlib.compressobj(9)
    stream = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(400)) + packer.flush()
    head = b"%PDF-1.5\n1 0 obj\n<< /Type /XRef /Size 9 /W [1 2 1] /Root 2 0 R /Filter /FlateDecode /Length "
    body = head + str(len(stream)).encode() + b" >>\nstream\n" + stream + b"\nendstream\nendobj\n"
    return body + b"startxref\n9\n%%EOF\n"


def test_pages_locked_and_broken_pdfs_are_reported(inspector):
    assert inspector.inspect(INVOICE.read_bytes()) == PdfInfo(pages=2)
    assert inspector.inspect(a_pdf(77)) == PdfInfo(pages=77)
    assert inspector.inspect(a_pdf(password="x")) == PdfInfo(locked=True)
    assert inspector.inspect(a_pdf(3, password="")) == PdfInfo(pages=3)  # it opens without one
    assert inspector.inspect(b"%PDF-1.7\nno more") == PdfInfo(broken=True)


def test_a_bomb_kills_only_the_process(inspector):
    began = time.monotonic()

    assert inspector.inspect(a_bomb()).pages is None
    assert time.monotonic() - began < 20
    assert inspector.inspect(a_pdf(5)) == PdfInfo(pages=5)


def test_an_inspection_times_out(tmp_path):
    slow = PdfInspector(timeout=0.3, command=[sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        assert slow.inspect(a_pdf()) == PdfInfo()
    finally:
        slow.close()


def test_a_killed_process_is_started_again(inspector):
    assert inspector.inspect(a_pdf(1)) == PdfInfo(pages=1)
    inspector._process.kill()
    inspector._process.wait()
    inspector.inspect(a_pdf(2))

    assert inspector.inspect(a_pdf(3)) == PdfInfo(pages=3)


def test_threads_take_turns(inspector):
    seen = {}
    threads = [
        threading.Thread(target=lambda n=n: seen.__setitem__(n, inspector.inspect(a_pdf(n)).pages)) for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert seen == {n: n for n in range(1, 9)}
