"""PDF inspection in processes of its own: slow PDFs delay no other, and the death of a process affects no job."""

from __future__ import annotations

import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_relay.claude.bounded_process import BoundedProcesses, Lane
from claude_relay.claude.pdf_inspector import PdfInfo, PdfInspector
from tests.support.pdfs import a_pdf

INVOICE = Path(__file__).parents[3] / "examples" / "faktura" / "faktura.pdf"


@pytest.fixture
def processes() -> Iterator[BoundedProcesses]:
    processes = BoundedProcesses()
    yield processes
    processes.close()


@pytest.fixture
def inspector(processes: BoundedProcesses) -> PdfInspector:
    return PdfInspector(processes)


def a_bomb() -> bytes:
    """An object stream of little that unpacks to hundreds of megabytes."""
    packer = zlib.compressobj(9)
    stream = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(400)) + packer.flush()
    head = b"%PDF-1.5\n1 0 obj\n<< /Type /XRef /Size 9 /W [1 2 1] /Root 2 0 R /Filter /FlateDecode /Length "
    body = head + str(len(stream)).encode() + b" >>\nstream\n" + stream + b"\nendstream\nendobj\n"
    return body + b"startxref\n9\n%%EOF\n"


def test_pages_locked_and_broken_pdfs_are_reported(inspector: PdfInspector) -> None:
    assert inspector.inspect(INVOICE.read_bytes()) == PdfInfo(pages=2)
    assert inspector.inspect(a_pdf(77)) == PdfInfo(pages=77)
    assert inspector.inspect(a_pdf(password="x")) == PdfInfo(locked=True)
    assert inspector.inspect(a_pdf(3, password="")) == PdfInfo(pages=3)  # it opens without one
    assert inspector.inspect(b"%PDF-1.7\nno more") == PdfInfo(broken=True)


def test_a_bomb_kills_only_the_process(inspector: PdfInspector) -> None:
    """It has no result, and others have theirs."""
    began = time.monotonic()

    assert inspector.inspect(a_bomb()).pages is None
    assert time.monotonic() - began < 60
    assert inspector.inspect(a_pdf(5)) == PdfInfo(pages=5)


def test_pdfs_that_take_for_ever_delay_no_other() -> None:
    """CASES S12: nine of them occupy the slow lane one after the other; one of the quick lane passes them all."""
    program = (
        "import sys, json, time\n"
        "print('ready', flush=True)\n"
        "while line := sys.stdin.readline():\n"
        "    head = json.loads(line)\n"
        "    if head['bytes'] == 9: time.sleep(600)\n"
        "    sys.stdin.read(head['bytes'])\n"
        "    print(json.dumps({'result': {'pages': 1}, 'last': False}), flush=True)\n"
    )
    lanes = (Lane(processes=2, seconds=1.0), Lane(processes=1, seconds=600.0))
    processes = BoundedProcesses(lanes=lanes, command=[sys.executable, "-c", program])
    inspector, results = PdfInspector(processes), list[PdfInfo]()
    threads = [threading.Thread(target=lambda n=n: inspector.inspect(b"for ever%d" % n), daemon=True) for n in range(9)]
    for thread in threads:
        thread.start()
    quick = threading.Thread(target=lambda: results.append(inspector.inspect(b"quick")))
    quick.start()
    quick.join(60)

    assert results == [PdfInfo(pages=1)]
    assert all(thread.is_alive() for thread in threads)  # the first in the slow lane, the others wait for it
    with processes._lock:
        assert len(processes._idle) <= 2


def test_an_inspection_times_out() -> None:
    """By the time limit of the last lane; the PDF is left to Anthropic."""
    command = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"]
    lanes = (Lane(processes=1, seconds=0.1), Lane(processes=1, seconds=0.2))
    slow = PdfInspector(BoundedProcesses(lanes=lanes, command=command))

    assert slow.inspect(a_pdf()) == PdfInfo()


@pytest.mark.parametrize("command", [["/no/such/program"], [sys.executable, "-c", "raise SystemExit(3)"]])
def test_a_machine_that_starts_no_process_costs_no_job(command: list[str]) -> None:
    """Nothing is known about the PDF then, and nothing is cached."""
    inspector = PdfInspector(BoundedProcesses(command=command))

    assert inspector.inspect(a_pdf()) == PdfInfo()
    assert not inspector._cache


def test_a_killed_process_is_replaced_within_the_same_inspection(
    inspector: PdfInspector, processes: BoundedProcesses
) -> None:
    """An administrator's kill, or the kernel's, is not the fault of the next PDF."""
    assert inspector.inspect(a_pdf(1)) == PdfInfo(pages=1)
    [process] = processes._idle
    process.popen.kill()
    process.popen.wait()

    assert inspector.inspect(a_pdf(2)) == PdfInfo(pages=2)


def test_many_threads_share_two_processes(inspector: PdfInspector, processes: BoundedProcesses) -> None:
    """Also in the sum of processes and of what they leave behind."""
    seen: dict[int, int | None] = {}
    threads = [
        threading.Thread(target=lambda n=n: seen.__setitem__(n, inspector.inspect(a_pdf(n)).pages)) for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert seen == {n: n for n in range(1, 9)}
    assert len(processes._idle) <= 2


def test_a_process_has_neither_the_environment_nor_unlimited_memory(
    inspector: PdfInspector, processes: BoundedProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys of the daemon stay out; idle processes end."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret")
    inspector.inspect(a_pdf(1))
    [process] = processes._idle
    folder = Path("/proc") / str(process.popen.pid)

    assert b"sk-ant-secret" not in (folder / "environ").read_bytes()
    [limit] = [line for line in (folder / "limits").read_text().splitlines() if line.startswith("Max address space")]
    assert limit.split()[3] == str(512 << 20)
    processes._idle_seconds = 0.0
    processes._end_idle()
    assert process.popen.returncode is not None
    assert not folder.exists()
