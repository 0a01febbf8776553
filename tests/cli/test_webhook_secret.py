"""`keys webhook`: rotation with the real command, observed in the signatures of a real worker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from claude_relay.core.deliveries.signing import encode_secret
from tests.support.receiver import Received, Receiver
from tests.support.rig import Rig

OLD = encode_secret(b"o" * 32)


def verified_by(received: Received, secrets: Sequence[str]) -> list[bool]:
    """Whether the library verifies the callback, for each of the secrets."""
    results = []
    for secret in secrets:
        try:
            Webhook(secret).verify(received.body.decode(), received.headers)
            results.append(True)
        except WebhookVerificationError:
            results.append(False)
    return results


@pytest.mark.process
def test_no_callback_is_refused_during_a_rotation(tmp_path: Path) -> None:
    """Both secrets sign until `finish`, then only the new one. The rest of the settings file does not change."""
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"# ours\nRELAY_WEBHOOK_SECRET={OLD}  # since May\nLOG_LEVEL=info\n")
    dotenv.chmod(0o600)
    with Receiver() as hook, Rig(tmp_path) as rig:
        rig.start_api()
        rotated = rig.command("keys", "webhook", "rotate", "--grace", "1h")
        assert rotated.returncode == 0, rotated.stderr
        new = rotated.stdout.strip()
        assert new.startswith("whsec_") and new not in rotated.stderr
        assert "finish" in rotated.stderr and "worker" in rotated.stderr
        assert dotenv.read_text() == f"# ours\nRELAY_WEBHOOK_SECRET={new},{OLD}  # since May\nLOG_LEVEL=info\n"
        assert dotenv.stat().st_mode & 0o777 == 0o600

        rig.start_worker()
        rig.submit({"prompt": "Hei", "webhookUrl": hook.url("/during")})
        [during] = hook.wait_for(1, path="/during")
        assert verified_by(during, [new, OLD]) == [True, True]

        too_soon = rig.command("keys", "webhook", "rotate")
        assert (too_soon.returncode, too_soon.stdout) == (9, "")
        assert "grace" in too_soon.stderr
        assert rig.command("keys", "webhook", "finish").returncode == 9
        assert rig.command("keys", "webhook", "finish", "--force").returncode == 0
        assert f"RELAY_WEBHOOK_SECRET={new}  # since May" in dotenv.read_text()

        assert rig.worker.stop() == 0
        rig.start_worker()
        rig.submit({"prompt": "Hei", "webhookUrl": hook.url("/after")})
        [after] = hook.wait_for(1, path="/after")
        assert verified_by(after, [new, OLD]) == [True, False]


def test_a_secret_in_the_environment_is_printed_to_be_set_by_hand(tmp_path: Path) -> None:
    """Nothing is changed, and stdout has the line to set."""
    with Rig(tmp_path) as rig:
        done = rig.command("keys", "webhook", "rotate", RELAY_WEBHOOK_SECRET=OLD)

        assert done.returncode == 78
        name, _, value = done.stdout.strip().partition("=")
        new, old = value.split(",")
        assert (name, old) == ("RELAY_WEBHOOK_SECRET", OLD)
        assert new.startswith("whsec_") and new != old
        assert "Nothing was changed" in done.stderr and "whsec_" not in done.stderr


def test_the_first_secret_is_created_by_a_rotation_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("#RELAY_WEBHOOK_SECRET=\n")
    with Rig(tmp_path) as rig:
        done = rig.command("keys", "webhook", "rotate", "--json")
        report = json.loads(done.stdout)

        assert (done.returncode, report["secrets"]) == (0, 1)
        assert (tmp_path / ".env").read_text() == f"RELAY_WEBHOOK_SECRET={report['secret']}\n"
        assert rig.command("keys", "webhook", "finish").returncode == 9
