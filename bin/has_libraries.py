"""Exit 0 if this Python has the libraries of setup.cfg and its dev extra: `make` asks the active environment."""

import configparser
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def missing() -> list[str]:
    config = configparser.ConfigParser()
    config.read(Path(__file__).resolve().parent.parent / "setup.cfg", encoding="utf-8")
    lines = (config["options"]["install_requires"] + config["options.extras_require"]["dev"]).split("\n")
    names = [match[0] for line in lines if (match := re.match(r"[A-Za-z0-9._-]+", line))]
    absent = []
    for name in names:
        try:
            version(name)
        except PackageNotFoundError:
            absent.append(name)

    return absent


if __name__ == "__main__":
    if sys.version_info < (3, 10):  # noqa: UP036 - this is the file that an older Python reads
        sys.exit("the active virtual environment has a Python older than 3.10; using .venv")
    if absent := missing():
        sys.exit(f"the active virtual environment lacks {', '.join(absent)}; using .venv")
