"""
`python -m benchmarks [NAME …]`: without a name all of them but `soak`.

It prints progress as JSON lines and then the table of figures and targets; a run of all of them also writes
`docs/reference/benchmarks.md`. Each benchmark declares its rows in its own module.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from . import accept, bounds, cli, dispatch, fleet, history, machine, memory, soak, streams, tables, texts, wal, worker
from .rows import Row, markdown_table, text_table

_ALL = {
    "accept": accept.run,
    "dispatch": dispatch.run,
    "streams": streams.run,
    "worker": worker.run,
    "memory": memory.run,
    "cli": cli.run,
    "bounds": bounds.run,
    "history": history.run,
    "fleet": fleet.run,
    "wal": wal.run,
    "tables": tables.run,
    "texts": texts.run,
}
#: Those that take too long to be run with the others.
_ON_REQUEST = {"soak": soak.run}
_PAGE = Path(__file__).parents[1] / "docs" / "reference" / "benchmarks.md"
_ABOUT = """# Benchmarks

`make bench` wrote this page: rounds of all servers in turn on one machine, medians of the rounds with the smallest and
the largest figure. Load generator, servers and databases share the processors: only ratios inside one run say something
about another machine. A target that is missed stays in the table.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[[], *_ALL, *_ON_REQUEST], help="the benchmarks to run (default: all)"
    )
    parser.add_argument("--folder", type=Path, help="the folder for the stores (default: a temporary one)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument("--write", action="store_true", help=f"write {_PAGE.name} also for some of them")
    args = parser.parse_args()

    tables: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        facts = machine.facts(folder)
        for benchmark in args.names or _ALL:
            rows = tables.setdefault(benchmark, [])
            for line in (_ALL | _ON_REQUEST)[benchmark](folder, rounds=args.rounds):
                if isinstance(line, Row):
                    rows.append(line)
                else:
                    print(json.dumps({"benchmark": benchmark, **line}), flush=True)
    for benchmark, rows in tables.items():
        print(f"\n{benchmark}\n{text_table(rows)}")
    if args.write or not args.names:
        _PAGE.write_text(_page(tables, facts, args.rounds))

    return 0


def _page(tables: dict[str, list[Row]], facts: dict[str, str], rounds: int) -> str:
    machine_lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    parts = [_ABOUT, f"{time.strftime('%Y-%m-%d', time.gmtime())}, {rounds} rounds:\n\n{machine_lines}\n"]
    parts += [f"## {name}\n\n{markdown_table(rows)}\n" for name, rows in tables.items() if rows]

    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
