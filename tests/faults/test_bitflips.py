"""One flipped bit in the file or the log of a store is never a silent difference (CASES S11)."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from claude_relay.storage.sqlite import log_check
from tests.faults import bitflips
from tests.support.builders import Clock


def test_no_flipped_bit_changes_a_request_an_answer_a_callback_an_address_or_a_state_in_silence(tmp_path: Path) -> None:
    """300 here; `make prove-bitflips` flips 5,000. Each is an error, an alert, or changes nothing that is read."""
    results = bitflips.flip_all(tmp_path, flips=300, seed=11)
    verdicts = Counter(one.verdict.partition(":")[0] for one in results)

    assert [one for one in results if one.verdict.startswith(("silent", "deep"))] == []
    assert verdicts["error"] > 100 and verdicts["same"] > 50


def test_a_log_as_a_kill_or_an_earlier_use_leaves_it_is_no_alarm(tmp_path: Path) -> None:
    """Cut off in the middle of a frame, or with the frames of an earlier use behind its end."""
    bitflips.make_store(tmp_path, Clock())
    crashed = tmp_path / "crashed"
    path, log = crashed / "relay.db", crashed / "relay.db-wal"
    written = log.read_bytes()
    frame = 24 + 4096

    assert log_check.check(path) is None
    for size in (len(written) - 100, len(written) - frame, 32 + 5 * frame + 24):
        log.write_bytes(written[:size])
        assert log_check.check(path) is None
    earlier = bytearray(written[32:])
    for at in range(0, len(earlier), frame):
        earlier[at + 8 : at + 16] = b"otherone"
    log.write_bytes(written + earlier)
    assert log_check.check(path) is None
    assert not list(crashed.glob("*.damaged-*"))


def test_the_log_is_kept_as_it_was_when_commits_are_lost(tmp_path: Path) -> None:
    """SQLite writes over it with the next commit: the copy is all that is left of them."""
    bitflips.make_store(tmp_path, Clock())
    path, log = tmp_path / "crashed" / "relay.db", tmp_path / "crashed" / "relay.db-wal"
    changed = bytearray(log.read_bytes())
    changed[32 + 3 * 4120 + 2000] ^= 4
    log.write_bytes(changed)
    problem = log_check.check(path)
    [copy] = log.parent.glob("relay.db-wal.damaged-*")

    assert problem is not None and "frame 4 of the write-ahead log is damaged" in problem and str(copy) in problem
    assert copy.read_bytes() == bytes(changed)
    shutil.rmtree(tmp_path / "crashed")
