"""The virtual environment of `make install`, created outside the container, which has no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = "/usr/bin/python3"  # a service cannot see a Python in a home folder
HOME = "/opt/claude-relay"


def make(folder: Path) -> Path:
    """A venv with this checkout installed, for /opt/claude-relay."""
    source, venv = folder / "source", folder / "venv"
    source.mkdir()
    for name in ("setup.cfg", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "claude_relay", source / "claude_relay", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", venv], check=True)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            venv / "bin" / "python",
            "install",
            "--quiet",
            "--quiet",
            f"{source}[postgres]",
        ],
        check=True,
        timeout=600,
    )
    script = venv / "bin" / "claude-relay"
    _, _, rest = script.read_text().partition("\n")
    script.write_text(f"#!{HOME}/bin/python\n{rest}")

    return venv


def wheels(folder: Path) -> None:
    """The wheels that pip needs to install this checkout without a network."""
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "venv" / "bin" / "python"]
    lists = [f"--requirement={path}" for path in sorted((ROOT / "constraints").glob("*.txt"))]
    command = [*pip, "download", "--quiet", "--quiet", "--only-binary=:all:", "--require-hashes", "--dest", folder]
    subprocess.run([*command, *lists], check=True, timeout=600)


def package(venv: Path) -> Path:
    """The path of the program in it."""
    [found] = venv.glob("lib/python3*/site-packages/claude_relay")
    return found
