"""constraints/: exact versions with hashes, which agree with setup.cfg and are what `make install` takes."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
#: The first versions without a hole that was known when the bounds were set, of the libraries that read foreign input.
SOUND = {
    "cryptography": "46.0.7",
    "idna": "3.7",
    "jinja2": "3.1.6",
    "pypdf": "7.1",
    "python-dotenv": "1.2.2",
    "requests": "2.33",
    "urllib3": "2.6.3",
    "waitress": "3.0.2",
}


def needed(extra: str | None = None) -> dict[str, Requirement]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    text = config["options.extras_require"][extra] if extra else config["options"]["install_requires"]
    return {canonicalize_name(each.name): each for each in map(Requirement, text.split("\n")[1:])}


def pinned(name: str) -> dict[str, list[tuple[Requirement, int]]]:
    """The entries of a file by library, each with the number of its hashes."""
    entries: dict[str, list[tuple[Requirement, int]]] = {}
    text = (ROOT / "constraints" / f"{name}.txt").read_text(encoding="utf-8")
    for entry in re.sub(r"\\\n\s+", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines():
        line, *hashes = entry.split("--hash=sha256:")
        requirement = Requirement(line.strip())
        entries.setdefault(canonicalize_name(requirement.name), []).append((requirement, len(hashes)))
    return entries


@pytest.mark.parametrize(("name", "extra"), [("base", None), ("postgres", "postgres"), ("otel", "otel")])
def test_every_library_is_pinned_within_its_range(name: str, extra: str | None) -> None:
    """CASES S19."""
    entries = pinned(name)
    for library, requirement in needed(extra).items():
        for entry, _ in entries[library]:
            [exact] = entry.specifier
            assert exact.operator == "==" and requirement.specifier.contains(exact.version), library


@pytest.mark.parametrize("name", ["base", "postgres", "otel", "build"])
def test_every_version_is_exact_and_has_hashes(name: str) -> None:
    """CASES S19: `pip install --require-hashes` takes nothing else."""
    for library, entries in pinned(name).items():
        for entry, hashes in entries:
            assert [each.operator for each in entry.specifier] == ["=="], library
            assert hashes >= 1, library


@pytest.mark.parametrize("library", SOUND)
def test_no_lower_bound_lets_a_version_with_a_known_hole_in(library: str) -> None:
    """CASES S19."""
    from packaging.version import Version

    [bound] = [each for each in needed()[library].specifier if each.operator in (">=", "==")]
    assert Version(bound.version) >= Version(SOUND[library])


def test_an_installation_takes_the_pinned_versions_alone() -> None:
    """CASES S19: the program itself is the only thing that is built, without a look at the package index."""
    script = (ROOT / "bin" / "install-server").read_text(encoding="utf-8")
    lines = [line for line in script.splitlines() if "pip install" in line]
    assert len(lines) == 2
    assert "--require-hashes --only-binary :all:" in lines[0] and "--no-build-isolation --no-deps" in lines[1]
