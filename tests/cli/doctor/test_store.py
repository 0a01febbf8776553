"""Checks of the store, its queues, backups and models."""

from __future__ import annotations

from claude_relay import wiring
from claude_relay.cli.doctor import store
from claude_relay.config import Settings
from tests.support.builders import a_submission
from tests.support.doctor import NOW, faults


def test_a_new_store_lacks_only_a_worker(server, tmp_path):
    given = Settings(store=f"sqlite:///{tmp_path}/relay.db")
    with wiring.open_relay(given, create=True):
        pass

    [fault] = faults(store.check(given, server))

    assert (fault.check, fault.result, fault.fix) == ("worker", "fail", "systemctl restart claude-relay-worker")


def test_a_missing_and_a_truncated_store(server, tmp_path):
    path = tmp_path / "relay.db"
    given = Settings(store=f"sqlite:///{path}")

    [missing] = faults(store.check(given, server))
    with wiring.open_relay(given, create=True):
        pass
    path.write_bytes(b"")
    [truncated] = faults(store.check(given, server))

    assert missing.fix == "systemctl start claude-relay.target"
    assert "claude-relay restore" in truncated.fix and "systemctl start" in truncated.fix


def test_a_backup_that_is_too_old():
    assert list(store.backup(None, NOW)) == []
    assert [finding.result for finding in store.backup({"at": NOW - 86400, "file": "/b/x.db"}, NOW)] == ["ok"]
    [old] = faults(store.backup({"at": NOW - 30 * 86400, "file": "/b/x.db"}, NOW))
    assert "claude-relay backup /b/relay-" in old.fix


def test_a_model_that_retires(server):
    memo = {
        "fetchedAt": NOW - 3600,
        "provider": "anthropic",
        "models": [
            {"id": "claude-sonnet-4-9", "retiresAt": "2026-12-20T00:00:00Z", "lifecycle": "deprecated"},
            {"id": "claude-opus-4-9", "retiresAt": "2026-10-01T00:00:00Z", "lifecycle": "retired"},
            {"id": "claude-sonnet-5-5", "retiresAt": "2028-01-01T00:00:00Z", "lifecycle": "active"},
        ],
    }

    def results(memo=memo, **given):
        return [(fault.result, fault.fix) for fault in faults(store.models(memo, Settings(**given), server))]

    assert results(model="claude-sonnet-5-5") == []
    [(result, fix)] = results(model="claude-opus-4-9")
    assert result == "fail" and "RELAY_MODEL=claude-" in fix and str(server.env_file) in fix
    both = {"model": "claude-sonnet-4-9", "fallback_models": ("claude-opus-4-9", "claude-sonnet-5-5")}
    [(first, _), (second, fix)] = results(**both)
    assert (first, second) == ("warn", "fail")
    assert ",claude-sonnet-5-5'" in fix
    # The sandbox's list is no source for the real upstream.
    assert results({**memo, "provider": "sandbox"}, model="claude-sonnet-5-5") == []
    for nothing in (None, [], {"models": None}, {"models": [1]}):
        assert results(nothing) == []
        assert [result for result, _ in results(nothing, model="claude-3-5-sonnet-20241022")] == ["fail"]


def test_damaged_content_is_met_by_the_daemons_and_named_by_a_deep_check(server, tmp_path):
    """CASES S11: the plain check says that there is some, the deep one which jobs it belongs to."""
    given = Settings(store=f"sqlite:///{tmp_path}/relay.db")
    with wiring.open_relay(given, create=True) as relay:
        relay.submit(a_submission("intact"))
        relay.submit(a_submission("faktura-7"))
        change = (
            "UPDATE requests SET request = '{}' WHERE job_id = (SELECT id FROM jobs WHERE request_id = 'faktura-7')"
        )
        relay._store.write(lambda tx: tx._run(change, ()))
        relay.execution.claim("w", limit=9)

    plain = [fault for fault in faults(store.check(given, server)) if fault.check == "digests"]
    deep = [fault for fault in faults(store.check(given, server, deep=True)) if fault.check == "digests"]

    assert [(fault.result, fault.fix) for fault in plain] == [("fail", "claude-relay doctor --deep")]
    assert [fault.detail.partition(":")[0] for fault in deep] == ["faktura-7"]


def test_a_clean_deep_check_ends_the_alert(server, tmp_path):
    given = Settings(store=f"sqlite:///{tmp_path}/relay.db")
    with wiring.open_relay(given, create=True) as relay:
        relay.submit(a_submission("intact"))
        relay.maintenance.set_shared("damage", {"since": NOW, "what": "frame 3 of the log", "count": 1})
        assert "store_damaged" in [alert.kind for alert in relay.alerts.evaluate()]

    [met] = [fault for fault in faults(store.check(given, server, deep=True)) if fault.check == "digests"]
    again = [fault for fault in faults(store.check(given, server)) if fault.check == "digests"]

    assert (met.result, again) == ("warn", [])
