"""Checks of the settings: each fault has its fix."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from claude_relay.cli.doctor import settings
from claude_relay.config import Settings, load
from claude_relay.errors import ConfigError
from tests.support.doctor import KEY, a_system, faults


def test_settings_for_production_have_no_fault(server):
    given = Settings(
        anthropic_api_key=KEY,
        api_secret_key=KEY,
        webhook_secret=("whsec_x",),
        public_url="https://relay.example.com",
        trusted_proxy="127.0.0.1",
    )

    assert faults(settings.check(given, server, environ={})) == []


@pytest.mark.parametrize(
    ("given", "check", "cure"),
    [
        ({"provider": "sandbox"}, "upstream", "RELAY_PROVIDER=anthropic"),
        ({"api_secret_key": "short"}, "api key", "API_SECRET_KEY=$(openssl rand"),
        ({"api_secret_key": "k" * 23}, "api key", "API_SECRET_KEY=$(openssl rand"),  # CASES S15, C9
        ({"api_secret_key": f"{KEY},short"}, "api key", "API_SECRET_KEY=$(openssl rand"),  # CASES A16
        ({"webhook_secret": ()}, "signing", "whsec_$(openssl rand"),
        ({"public_url": None}, "public url", "RELAY_PUBLIC_URL=https://"),
        ({"public_url": "http://r.example", "env": "production"}, "public url", "https://r.example"),
        ({"trusted_proxy": None}, "proxy", "RELAY_TRUSTED_PROXY=127.0.0.1"),
        ({"trusted_proxy": "*", "host": "0.0.0.0"}, "proxy", "RELAY_TRUSTED_PROXY="),
    ],
)
def test_each_fault_has_the_line_that_fixes_it(server, given, check, cure):
    well = {
        "anthropic_api_key": KEY,
        "api_secret_key": KEY,
        "webhook_secret": ("whsec_x",),
        "public_url": "https://relay.example.com",
        "trusted_proxy": "127.0.0.1",
    }

    [fault] = faults(settings.check(Settings(**{**well, **given}), server, environ={}))

    assert fault.check == check
    assert cure in fault.fix and "systemctl" in fault.fix


def test_a_variable_of_the_environment_is_fixed_there(tmp_path):
    """The environment takes precedence over a line in .env."""
    workstation = replace(a_system(tmp_path), environ={"RELAY_PUBLIC_URL": ""}, booted=tmp_path / "none")
    given = Settings(api_secret_key=KEY, public_url="http://r.example", env="production", provider="sandbox")

    [fault] = [item for item in settings.check(given, workstation, environ={}) if item.check == "public url"]

    assert "RELAY_PUBLIC_URL=https://r.example in the environment" in fault.fix and ".env" not in fault.fix


def test_missing_keys_are_reported_without_systemd(tmp_path):
    by_check = {fault.check: fault for fault in faults(settings.check(Settings(), a_system(tmp_path), environ={}))}

    assert by_check["upstream"].result == by_check["api key"].result == "fail"
    assert by_check["api key"].fix == "claude-relay config init"


def test_a_proxy_in_the_environment_is_reported(server):
    findings = faults(settings.check(Settings(), server, environ={"HTTPS_PROXY": "http://p:3128"}))

    assert "unset HTTPS_PROXY" in next(fault.fix for fault in findings if fault.check == "outgoing proxy")


@pytest.mark.parametrize(
    ("line", "detail", "fix"),
    [
        ("RELAY_LEASSE=1s", "RELAY_LEASSE", "sed -i 's/^RELAY_LEASSE=/RELAY_LEASE=/' {file} && claude-relay"),
        (
            "RELAY_XYZZY_PLUGH=1",
            "RELAY_XYZZY",
            "sed -i '/^RELAY_XYZZY_PLUGH=/d' {file} && claude-relay config check",
        ),
        ("PORT=x", "PORT from", "edit the line PORT= in {file}: write a whole number"),
        ("RELAY_PUBLIC_URL=ftp://x", "ftp://x", "edit the line RELAY_PUBLIC_URL= in {file}: write a"),
    ],
)
def test_an_unreadable_setting_is_reported_with_its_edit(server, line, detail, fix):
    server.env_file.write_text(line + "\n")
    with pytest.raises(ConfigError) as caught:
        load({}, dotenv=None, etc=server.env_file)

    [fault] = faults(settings.faults(caught.value.problems, server))

    assert detail in fault.detail
    assert fault.fix.startswith(fix.format(file=server.env_file))


def test_the_command_fixes_a_misspelt_name(server):
    server.env_file.write_text("PORT=3000\nRELAY_LEASSE=90s\n")
    with pytest.raises(ConfigError) as caught:
        load({}, dotenv=None, etc=server.env_file)
    [fault] = faults(settings.faults(caught.value.problems, server))
    os.system(fault.fix.split(" && ")[0])

    assert load({}, dotenv=None, etc=server.env_file).lease == 90.0


def test_a_wrong_variable_of_the_environment_is_reported(server):
    with pytest.raises(ConfigError) as caught:
        load({"PORT": "x", "RELAY_LEASSE": "1s"}, dotenv=None, etc=None)
    findings = faults(settings.faults(caught.value.problems, server))

    assert {fault.fix.split(",")[0] for fault in findings} == {
        "write a whole number from 0 to 65535",
        "unset RELAY_LEASSE",
    }
