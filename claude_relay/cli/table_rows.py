"""The rows of a table to send: those of a CSV file, or one for each file of a folder."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from ..core.collections.collection import MAX_ROWS
from ..core.collections.csv_input import read_csv
from ..errors import InvalidRequest, Problem
from .input_files import readable_name

#: Bytes of one request.
_PIECE = 8 * 2**20
_ROW = re.compile(r"\(row ([0-9]+)\)$")
#: The remedies that a message names for requests, and those of this command.
_REMEDIES = {
    "Content-Type: text/csv; charset=windows-1252": "--charset windows-1252",
    "make the collection with open: true, and send the rest to /api/collections/{id}/rows": "split the file",
}


class CsvRows:
    """The rows of a CSV file."""

    def __init__(self, file: IO[bytes] | None, *, charset: str | None, delimiter: str | None) -> None:
        data = file.read() if file is not None else b""
        try:
            table = read_csv(data, charset=charset, delimiter=delimiter)
        except InvalidRequest as exc:
            raise InvalidRequest(problems=[_for_the_terminal(problem) for problem in exc.problems]) from None
        self.rows: Sequence[dict[str, Any]] = table.rows
        self.lines = table.lines
        self.key = hashlib.sha256(data).hexdigest()
        self.stem = Path(getattr(file, "name", "table")).stem
        self.whole = len(data) <= _PIECE and len(self.rows) <= MAX_ROWS

    def pieces(self) -> Iterator[list[dict[str, Any]]]:
        """The rows in pieces that a request takes."""
        yield from _split(self.rows)


class FileRows:
    """The files of a folder, read piece by piece: `file` is the content in base64, `name` the file's name."""

    whole = False
    lines: Sequence[int] = ()

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        if not self._paths:
            raise InvalidRequest.at("--files", f"{folder} has no files")
        stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self._paths]
        self.key = hashlib.sha256(json.dumps(stats).encode()).hexdigest()
        self.stem = folder.resolve().name

    @property
    def rows(self) -> Sequence[dict[str, Any]]:
        """The first row alone: an example."""
        return [_file_row(self._paths[0])]

    def pieces(self) -> Iterator[list[dict[str, Any]]]:
        """The rows in pieces that a request takes."""
        yield from _split(_file_row(path) for path in self._paths)


def _file_row(path: Path) -> dict[str, Any]:
    return {"file": base64.b64encode(path.read_bytes()).decode(), "name": readable_name(path)}


def _split(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    piece: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        length = sum(len(str(value)) for value in row.values())
        if piece and (size + length > _PIECE or len(piece) >= MAX_ROWS):
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += length
    if piece:
        yield piece


def with_line(problem: Problem, lines: Sequence[int]) -> Problem:
    """The problem of a row with its line in the file, which rows that are sent as JSON lack."""

    def place(match: re.Match[str]) -> str:
        row = int(match[1])
        return f"(row {row}, line {lines[row - 1]})" if 1 <= row <= len(lines) else match[0]

    return Problem(field=problem.field, problem=_ROW.sub(place, problem.problem))


def _for_the_terminal(problem: Problem) -> Problem:
    """The problem of a file with the remedies of the command line instead of those of a request."""
    text = problem.problem
    for request, option in _REMEDIES.items():
        text = text.replace(request, option)

    return Problem(field=problem.field, problem=text)


Rows = CsvRows | FileRows
