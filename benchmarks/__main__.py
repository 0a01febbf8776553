"""`python -m benchmarks [accept] [dispatch] [history]`: all of them without a name. Prints JSON lines and a summary."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from . import accept, dispatch, fleet, history

_ALL = {"accept": accept.run, "dispatch": dispatch.run, "fleet": fleet.run, "history": history.run}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *_ALL], help="the benchmarks to run (default: all)")
    parser.add_argument("--folder", type=Path, help="the folder for the stores (default: a temporary one)")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds (default 7)")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for name in args.names or _ALL:
            for line in _ALL[name](Path(folder), rounds=args.rounds):
                print(json.dumps({"benchmark": name, **line}), flush=True)

    return 0


if __name__ == "__main__":
    sys.exit(main())
