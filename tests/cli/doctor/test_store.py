"""Checks of the store, its queues, backups and models."""

from __future__ import annotations

from claude_relay import wiring
from claude_relay.cli.doctor import store
from claude_relay.config import Settings
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
