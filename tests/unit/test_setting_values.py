"""Values that cannot be meant, and variables of the environment that are no settings."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import certifi
import falcon
import pytest

from claude_relay.api.serve import listen, listening_url
from claude_relay.config import Settings, secret_problem
from claude_relay.config import load as load_settings
from claude_relay.config.cautions import cautions
from claude_relay.errors import ConfigError
from claude_relay.wiring.host_checks import check_host


def load(environ: Mapping[str, str], *, dotenv: Path | None = None) -> Settings:
    return load_settings(environ, dotenv=dotenv, etc=None)


def faults(environ: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(environ)

    return list(caught.value.problems)


@pytest.mark.parametrize("value", ['"claude-sonnet-5-5"', "'claude-sonnet-5-5'", "“claude-sonnet-5-5”"])
@pytest.mark.parametrize("name", ["RELAY_MODEL", "API_SECRET_KEY", "ANTHROPIC_BASE_URL"])
def test_a_value_in_quotes_is_refused(name: str, value: str) -> None:
    """CASES F13, C8: `docker --env-file` takes quotes literally, and every caller then gets a 403."""
    [fault] = faults({name: value})

    assert name in fault and "write it without them" in fault


def test_quotes_of_a_settings_file_are_its_syntax(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text('RELAY_MODEL="claude-opus-5"\n')

    assert load({}, dotenv=file).model == "claude-opus-5"


def test_the_service_variables_of_kubernetes_are_no_settings() -> None:
    """CASES F12: services named `relay` and `relay-db`, as every container of the namespace gets them."""
    address = "tcp://10.43.7.1:3000"
    environ = {
        "RELAY_SERVICE_HOST": "10.43.7.1",
        "RELAY_SERVICE_PORT": "3000",
        "RELAY_SERVICE_PORT_HTTP": "3000",
        "RELAY_PORT": address,
        "RELAY_PORT_3000_TCP": address,
        "RELAY_PORT_3000_TCP_PROTO": "tcp",
        "RELAY_PORT_3000_TCP_PORT": "3000",
        "RELAY_PORT_3000_TCP_ADDR": "10.43.7.1",
        "RELAY_DB_SERVICE_HOST": "10.43.7.2",
        "RELAY_DB_PORT": "tcp://10.43.7.2:5432",
    }

    assert load(environ).given == {}
    [fault] = faults({"RELAY_PORT": "8080"})
    assert "did you mean PORT?" in fault


def test_the_variables_of_a_docker_link_are_no_settings() -> None:
    """A sibling of CASES F12: `docker run --link relay`, whose container has settings of this program itself."""
    address = "tcp://172.17.0.2:8080"
    link = {
        "RELAY_NAME": "/caller/relay",
        "RELAY_PORT": address,
        "RELAY_PORT_8080_TCP": address,
        "RELAY_PORT_8080_TCP_ADDR": "172.17.0.2",
        "RELAY_PORT_8080_TCP_PORT": "8080",
        "RELAY_PORT_8080_TCP_PROTO": "tcp",
        "RELAY_PORT_9000_TCP_START": "tcp://172.17.0.2:9000",
        "RELAY_PORT_9000_TCP_PORT_START": "9000",
        "RELAY_PORT_9000_TCP_END": "tcp://172.17.0.2:9003",
        "RELAY_PORT_9000_TCP_PORT_END": "9003",
        "RELAY_ENV_RELAY_ENV": "production",
        "RELAY_ENV_PYTHON_VERSION": "3.11",
        "RELAY_DB_1_NAME": "/caller/relay_db_1",
        "RELAY_DB_1_ENV_PGDATA": "/data",
    }

    assert load(link).given == {}
    assert len(faults({"RELAY_NAME": "relay", "RELAY_ENV_PYTHON_VERSION": "3.11", "RELAY_PORT_8080_TCP": "8080"})) == 3
    [fault] = faults({**link, "RELAY_MODL": "smart"})
    assert "did you mean RELAY_MODEL?" in fault


def test_a_base_url_with_the_path_of_the_api_is_cut_with_a_warning() -> None:
    """CASES F11: every request adds the path itself, and every job would fail as not_found."""
    [sentence] = cautions(load({"ANTHROPIC_BASE_URL": "https://u:hunter2@gw.example/v1/messages"}))

    assert "ends with /v1/messages" in sentence and "hunter2" not in sentence
    assert cautions(load({"ANTHROPIC_BASE_URL": "https://gw.example/claude"})) == []


@pytest.mark.parametrize("model", ["claude-sonet-5-5", "gpt-5"])
def test_a_model_that_no_catalog_lists_is_warned_of(model: str) -> None:
    """CASES F13: a gateway may have it."""
    [sentence] = cautions(load({"RELAY_MODEL": model}))

    assert model in sentence and "RELAY_MODEL" in sentence and "a gateway may have it" in sentence


@pytest.mark.parametrize("model", ["smart", "claude-opus-5", "claude-opus-4-5-20251101", "claude-3-opus-20240229"])
def test_a_listed_model_is_not_warned_of(model: str) -> None:
    """Also an alias, a dated id, and a retired one, which has its own finding."""
    assert cautions(load({"RELAY_FALLBACK_MODELS": model})) == []


@pytest.mark.parametrize(
    "text, words",
    [
        ("sk…", "placeholder"),
        ("sk-ant-...", "placeholder"),
        ("<your key>", "placeholder"),
        ('"sk-ant-0123456789"', "quotes"),
        ("sk-ant-0123456789\r\n", "carriage return"),
        ("sk-ant-0123456789\nsk-ant-9876543210\n", "2 lines"),
        ("export ANTHROPIC_API_KEY=sk-ant-0123456789\n", "as a setting"),
        ("ANTHROPIC_API_KEY=sk-ant-0123456789\n", "as a setting"),
        ("sk-ant 0123456789", "space"),
        ("sk-ant-0123456789\n", None),
        ("crk_0123456789==", None),
    ],
)
def test_the_text_of_a_secret_that_cannot_be_meant_is_named(text: str, words: str | None) -> None:
    """CASES A10: without a part of the secret."""
    problem = secret_problem("ANTHROPIC_API_KEY", text)

    assert problem is None if words is None else words in str(problem)
    assert "0123456789" not in str(problem)


def test_a_key_that_is_a_complete_line_is_warned_of_at_the_start() -> None:
    """CASES A10: it is accepted as a key, and every call is refused with it."""
    [sentence] = cautions(load({"ANTHROPIC_API_KEY": "ANTHROPIC_API_KEY=sk-ant-0123456789"}))

    assert "written as a setting" in sentence and "0123456789" not in sentence


def test_a_key_log_that_cannot_be_written_is_named_and_no_other_variable(tmp_path: Path, monkeypatch: Any) -> None:
    """CASES F3: every TLS client fails then, and certificates that are right were blamed for it."""
    environ = {"SSL_CERT_FILE": certifi.where(), "SSLKEYLOGFILE": "/nowhere/keys"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    settings = load({"RELAY_STORE": f"sqlite:///{tmp_path}/relay.db"})
    for calls in (False, True):
        with pytest.raises(ConfigError) as caught:
            check_host(settings, environ, calls=calls)
        [fault] = caught.value.problems
        assert "SSLKEYLOGFILE" in fault and "SSL_CERT_FILE" not in fault

    check_host(settings, {**environ, "SSLKEYLOGFILE": str(tmp_path / "keys")}, calls=False)


def test_an_address_that_is_none_is_a_fault_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """CASES A13: exit 78 and a sentence, not an unexpected error that a supervisor repeats for ever."""

    def unknown(*_: Any) -> Any:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # no test asks a name server
    with pytest.raises(ConfigError, match=r"RELAY_HOST 999\.1\.1\.1 is no address of this machine"):
        listen(falcon.App(), load({"RELAY_HOST": "999.1.1.1", "PORT": "0"}), map={})


@pytest.mark.parametrize("inherited", [False, True])
def test_the_url_of_an_ipv6_address_has_brackets(inherited: bool) -> None:
    """CASES A13: the URL that the API prints works when typed."""
    listener = SimpleNamespace(socket=SimpleNamespace(getsockname=lambda: ("::1", 3000, 0, 0)))
    settings = load({"RELAY_HOST": "::1", "PORT": "3000"})

    assert listening_url([listener], settings, inherited=inherited) == "http://[::1]:3000"


def test_three_keys_are_one_and_named_as_such() -> None:
    """A sibling of CASES A16: a key may contain commas, and two keys are the most."""
    assert secret_problem("API_SECRET_KEY", f"{'a' * 32},{'b' * 32}") is None
    assert "one key" in str(secret_problem("API_SECRET_KEY", f"{'a' * 32},{'b' * 32},{'c' * 32}"))
