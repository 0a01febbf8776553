"""A daemon on a large store: it starts at once, and stops when the check beside it meets damage."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from claude_relay.storage.sqlite.store import SqliteStore
from claude_relay.wiring.store_check import LARGEST_AT_START
from tests.support.rig import Rig

pytestmark = pytest.mark.process


def damaged_store(path: Path, *, size: int) -> None:
    """A store with a damaged page in a table that no start reads."""
    path.parent.mkdir()
    SqliteStore(path).close()
    connection = apsw.Connection(str(path))
    connection.execute(
        "INSERT INTO fetched_files (job_id, number, media_type, size, sha256, at, data)"
        " VALUES ('x', 0, '', 0, '', 0, ?)",
        (apsw.zeroblob(size),),
    )
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'template_versions'").get
    page_size = connection.pragma("page_size")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * page_size)
        file.write(b"\xff" * 100)


@pytest.mark.parametrize(("verb", "message"), [("serve", "claude-relay API on"), ("worker", "worker started")])
def test_a_large_damaged_store_is_refused_while_the_daemon_works(tmp_path: Path, verb: str, message: str) -> None:
    """A start takes as long with gigabytes as without. Exit 78 as for a small store: systemd starts it no more."""
    with Rig(tmp_path) as rig:
        damaged_store(tmp_path / "store" / "relay.db", size=LARGEST_AT_START + 1)
        daemon = rig._run(verb)

        assert daemon.wait(60) == 78
        assert message in daemon.output()
        assert "is corrupt" in daemon.output() and "restore" in daemon.output()


def test_a_small_damaged_store_is_refused_before_the_start(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        damaged_store(tmp_path / "store" / "relay.db", size=2**24 + 1)
        daemon = rig._run("serve")

        assert daemon.wait(60) == 78
        assert "claude-relay API on" not in daemon.output()
        assert "is corrupt" in daemon.output()
