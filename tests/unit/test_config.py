"""Settings: their sources, parsing and errors."""

import base64
import dataclasses
import os
from pathlib import Path

import pytest

from claude_relay.cli.verbs import demo
from claude_relay.config import OPTIONS, Rate, Settings, loader
from claude_relay.config import load as load_settings
from claude_relay.config.urls import default_store
from claude_relay.core.policy import Policy
from claude_relay.errors import ConfigError
from claude_relay.wiring.stores import policy

SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"o" * 64).decode()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test runs in an empty directory."""
    monkeypatch.chdir(tmp_path)


def load(environ=None, **more):
    """Load as on a machine without settings files, unless the test names some."""
    return load_settings(environ or {}, **{"dotenv": None, "etc": None, **more})


def faults(environ=None, **more):
    with pytest.raises(ConfigError) as caught:
        load(environ, **more)

    return caught.value.problems


def test_the_defaults_are_those_of_the_contract():
    settings = load()

    assert settings == Settings()
    assert (settings.port, settings.host, settings.env, settings.log_level) == (
        3000,
        "127.0.0.1",
        "development",
        "info",
    )
    assert settings.allowed_origins == ("*",)
    assert settings.webhook_schedule == (5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    assert settings.rate_limit_submit == Rate(100, 900) and settings.rate_limit == Rate(200, 900)
    assert (settings.max_body, settings.callback_max, settings.disk_floor) == (32 * 2**20, 4 * 2**20, 256 * 2**20)
    assert (settings.call_timeout, settings.drain, settings.lease, settings.backoff_max) == (1800, 120, 60, 60)
    assert settings.batch_poll == (5, 60)
    assert settings.ack_remind is None and settings.webhook_secret == () and settings.api_secret_key is None
    assert settings.store_path == Path("/var/lib/claude-relay/relay.db")


def test_each_option_is_a_field_under_its_own_name():
    names = {each.name for each in dataclasses.fields(Settings)} - {"given", "journal_stream", "state_directory"}

    assert {row.attribute for row in OPTIONS} == names
    assert len(OPTIONS) == len(names)


def test_the_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().port = 1


def test_an_empty_value_means_the_default():
    assert load({row.name: "  " for row in OPTIONS}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PORT", "0", 0),
        ("LOG_LEVEL", "WARNING", "warn"),
        (
            "ALLOWED_ORIGINS",
            "https://a.example/, http://b.example:8080",
            ("https://a.example", "http://b.example:8080"),
        ),
        ("RELAY_HOST", "[::1]", "::1"),
        ("RELAY_PUBLIC_URL", "https://relay.example.com/base/", "https://relay.example.com/base"),
        ("RELAY_RATE_LIMIT", "off", None),
        ("RELAY_ACK_REMIND", "30m", 1800.0),
        ("RELAY_WEBHOOK_SCHEDULE", "1s, 2s", (1.0, 2.0)),
        ("RELAY_WEBHOOK_SCHEDULE", "off", ()),
        ("RELAY_BATCH_POLL", "10s", (10.0, 10.0)),
        ("RELAY_METRICS_PUBLIC", "yes", True),
        ("RELAY_FALLBACK_MODELS", "a, b,", ("a", "b")),
        ("RELAY_WEBHOOK_SECRET", f"{SECRET},{OLD_SECRET}", (SECRET, OLD_SECRET)),
        ("RELAY_TRUSTED_PROXY", "*", "*"),
        ("RELAY_LOG_DIR", "/var/log/claude-relay", Path("/var/log/claude-relay")),
        ("RELAY_STORE", "postgres://u@h/db", "postgresql://u@h/db"),
        ("RELAY_STORE", "sqlite:////srv/x.db", "sqlite:////srv/x.db"),
        ("RELAY_TRUSTED_PROXY", "127.0.0.1, 172.16.0.0/12,fd00::/8", "127.0.0.1,172.16.0.0/12,fd00::/8"),
        ("ANTHROPIC_BASE_URL", "https://gw.example/claude/v1", "https://gw.example/claude"),
        ("ANTHROPIC_BASE_URL", "https://gw.example/v1/messages/", "https://gw.example"),
        ("ANTHROPIC_BASE_URL", "https://gw.example/v1beta", "https://gw.example/v1beta"),
        (
            "RELAY_ALLOW_PRIVATE_URLS",
            "N8N.internal, localhost:9000,10.1.0.0/16, [::1]:80, fd00::/8, ::1",
            ("n8n.internal", "localhost:9000", "10.1.0.0/16", "[::1]:80", "fd00::/8", "::1"),
        ),
    ],
)
def test_a_valid_value_is_parsed(name, text, value):
    attribute = next(row.attribute for row in OPTIONS if row.name == name)

    assert getattr(load({name: text}), attribute) == value


@pytest.mark.parametrize(
    ("name", "text", "cure"),
    [
        ("PORT", "65536", "from 0 to 65535"),
        ("PORT", "3000.0", "from 0 to 65535"),
        ("LOG_LEVEL", "verbose", "error, warn, info, debug"),
        ("ALLOWED_ORIGINS", "*,https://a.example", "* alone"),
        ("ALLOWED_ORIGINS", "a.example", "https://hook.us1.make.com"),
        ("ALLOWED_ORIGINS", "https://a.example/path", "no path"),
        ("RELAY_HOST", "http://x", "host name or an IP address"),
        ("RELAY_PUBLIC_URL", "relay.example.com", "http:// or https://"),
        ("RELAY_PUBLIC_URL", "https://x/?a=1", "without ? and #"),
        ("RELAY_PUBLIC_URL", "https://user@x", "without a user and a password"),
        ("RELAY_PUBLIC_URL", "https://[x", "brackets or its port"),
        ("ANTHROPIC_BASE_URL", "http://host:99999", "brackets or its port"),
        ("RELAY_RATE_LIMIT", "100", "100/15m, or off"),
        ("RELAY_CALL_TIMEOUT", "30", "needs its unit"),
        ("RELAY_CALL_TIMEOUT", "0", "above zero"),
        ("RELAY_ACK_REMIND", "soon", "or off"),
        ("RELAY_WEBHOOK_SCHEDULE", "5s;10s", "such as 90s"),
        ("RELAY_WEBHOOK_SCHEDULE", ",", "1 to 100 comma-separated delays"),
        ("RELAY_BATCH_POLL", "60s,5s", "5s,60s"),
        ("RELAY_METRICS_PUBLIC", "2", "yes or no"),
        ("RELAY_PROVIDER", "openai", "anthropic or sandbox"),
        ("RELAY_MODEL", "claude sonnet", "without spaces"),
        ("RELAY_MAX_BODY", "1B", "the least is 1KiB"),
        ("RELAY_TRUSTED_PROXY", "10.0.0.1/8", "the proxy's IP address, or its network"),
        ("RELAY_TRUSTED_PROXY", "0.0.0.0/0", "* if only the proxy"),
        ("RELAY_TRUSTED_PROXY", "*,10.0.0.0/8", "* if only the proxy"),
        ("RELAY_STORE", "mysql://h/db", "SQLite or PostgreSQL"),
        ("RELAY_STORE", "sqlite://relay.db", "sqlite:////var/lib"),
        ("RELAY_STORE", "sqlite:///:memory:", "a permanent file"),
        ("RELAY_STORE", "redis:x", "write a path"),
        ("RELAY_ALLOW_PRIVATE_URLS", "*", "everything cannot be allowed"),
        ("RELAY_ALLOW_PRIVATE_URLS", "0.0.0.0/0", "everything cannot be allowed"),
        ("RELAY_ALLOW_PRIVATE_URLS", "http://localhost", "hosts, not URLs"),
        ("RELAY_ALLOW_PRIVATE_URLS", "10.1.2.3/16", "its first address"),
        ("RELAY_ALLOW_PRIVATE_URLS", "user@host", "host:port"),
    ],
)
def test_an_invalid_value_is_reported_with_its_name_and_the_cure(name, text, cure):
    [fault] = faults({name: text})

    assert fault.startswith(f'{name} from the environment is "{text}": ')
    assert cure in fault


@pytest.mark.parametrize("row", [row for row in OPTIONS if row.secret], ids=lambda row: row.name)
def test_an_error_never_contains_the_value_of_a_secret(row):
    [fault] = faults({row.name: "hunter2 hunter2"})

    assert row.name in fault
    assert "hunter2" not in fault


@pytest.mark.parametrize(
    "text",
    ["plainsecret", "whsec_AAAA", "whsec_!!!", f"whsec_{base64.b64encode(b'x' * 23).decode()}", f"{SECRET} " * 3],
)
def test_a_signing_secret_must_follow_the_specification(text):
    [fault] = faults({"RELAY_WEBHOOK_SECRET": text})

    assert "a signing secret is" in fault or "two" in fault
    assert text.strip() not in fault


def test_all_faults_are_reported_at_once():
    errors = faults({"PORT": "x", "RELAY_LEASE": "x", "RELAY_NOPE": "1"})

    assert len(errors) == 3
    assert [name for name in ("PORT", "RELAY_LEASE", "RELAY_NOPE") if not any(name in fault for fault in errors)] == []


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("RELAY_CONCURENCY", "RELAY_CONCURRENCY"),
        ("RELAY_PORT", "PORT"),
        ("RELAY_LOG_LEVEL", "LOG_LEVEL"),
        ("RELAY_WEBHOOK_SECRETS", "RELAY_WEBHOOK_SECRET"),
        ("RELAY_API_SECRET_KEY", "API_SECRET_KEY"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(wrong, meant):
    [fault] = faults({wrong: ""})

    assert fault == f"{wrong} in the environment is not a setting: did you mean {meant}?"


def test_control_characters_in_a_value_stay_out_of_the_terminal():
    [fault] = faults({"RELAY_MODEL": "a\x1b[31m\nb"})

    assert "\x1b" not in fault and "\n" not in fault


class TestSources:
    def test_the_source_with_precedence_wins_and_is_the_origin(self, tmp_path):
        dotenv, etc = tmp_path / ".env", tmp_path / "etc.env"
        dotenv.write_text("PORT=2\nRELAY_LEASE=2s\nRELAY_DRAIN=2s\n")
        etc.write_text("PORT=3\nRELAY_LEASE=3s\nRELAY_MODEL=m\n")

        settings = load({"PORT": "1"}, dotenv=dotenv, etc=etc, overrides={"RELAY_DRAIN": "9s"})

        assert (settings.port, settings.lease, settings.model, settings.drain) == (1, 2, "m", 9)
        origins = [
            settings.origin(name) for name in ("PORT", "RELAY_LEASE", "RELAY_MODEL", "RELAY_DRAIN", "RELAY_HOST")
        ]
        assert origins == ["the environment", ".env", str(etc), "the command line", "default"]

    def test_an_empty_value_falls_through_to_the_next_source(self, tmp_path):
        (tmp_path / ".env").write_text("PORT=4000\n")

        assert load({"PORT": ""}, dotenv=Path(".env")).port == 4000

    def test_a_dotenv_changes_nothing_outside_and_expands_nothing(self, tmp_path):
        (tmp_path / ".env").write_text(
            "\ufeffexport API_SECRET_KEY='a$HOME${PORT}'\r\n# a comment\r\nPORT = 1 # one\r\n"
        )
        original = dict(os.environ)

        settings = load(dotenv=Path(".env"))

        assert (settings.api_secret_key, settings.port) == ("a$HOME${PORT}", 1)
        assert dict(os.environ) == original

    def test_a_line_that_cannot_be_read_is_a_fault(self, tmp_path):
        (tmp_path / ".env").write_text("PORT=1\nAPI_SECRET_KEY='open\n")

        [fault] = faults(dotenv=Path(".env"))

        assert ".env, line 2," in fault and "open" not in fault

    def test_a_file_that_is_not_utf8_is_a_fault(self, tmp_path):
        (tmp_path / ".env").write_bytes(b"PORT=\xff\n")

        [fault] = faults(dotenv=Path(".env"))

        assert "UTF-8" in fault

    def test_unknown_names_count_in_files_too(self, tmp_path):
        (tmp_path / ".env").write_text("RELAY_MODLE=x\nSOMEBODY_ELSES=1\n")

        assert faults(dotenv=Path(".env")) == ("RELAY_MODLE in .env is not a setting: did you mean RELAY_MODEL?",)

    def test_a_file_that_cannot_be_read_is_a_fault(self, tmp_path):
        [fault] = faults(etc=tmp_path)

        assert fault.startswith(f"{tmp_path} cannot be read (Is a directory)")


class TestEnvironmentName:
    def test_node_env_is_taken(self):
        settings = load({"NODE_ENV": "production"})

        assert settings.env == "production" and settings.production

    def test_our_own_name_takes_precedence_in_every_source(self, tmp_path):
        (tmp_path / ".env").write_text("RELAY_ENV=development\n")

        assert load({"NODE_ENV": "production"}, dotenv=Path(".env")).env == "development"

    @pytest.mark.parametrize("name", ["NODE_ENV", "RELAY_ENV"])
    def test_an_unknown_environment_is_a_fault_that_names_both_settings(self, name):
        [fault] = faults({name: "staging"})

        assert "NODE_ENV" in fault and "RELAY_ENV" in fault and "development or production" in fault


class TestSecrets:
    def test_a_secret_may_be_in_a_file(self, tmp_path):
        (tmp_path / "key").write_text("sk-ant-xyz\n")

        settings = load({"ANTHROPIC_API_KEY_FILE": str(tmp_path / "key")})

        assert settings.anthropic_api_key == "sk-ant-xyz"
        assert settings.origin("ANTHROPIC_API_KEY") == f"{tmp_path / 'key'} (ANTHROPIC_API_KEY_FILE in the environment)"

    @pytest.mark.parametrize(("content", "cure"), [("", "is empty"), (" \n", "is empty"), (None, "No such file")])
    def test_a_key_file_without_a_key_is_a_fault(self, tmp_path, content, cure):
        if content is not None:
            (tmp_path / "key").write_text(content)

        [fault] = faults({"API_SECRET_KEY_FILE": str(tmp_path / "key")})

        assert fault.startswith("API_SECRET_KEY_FILE") and cure in fault

    def test_a_key_twice_in_one_place_is_a_fault(self, tmp_path):
        [fault] = faults({"API_SECRET_KEY": "a", "API_SECRET_KEY_FILE": str(tmp_path / "key")})

        assert "keep one of the two" in fault

    def test_only_secrets_can_be_in_files(self):
        [fault] = faults({"RELAY_MODEL_FILE": "x"})

        assert "set RELAY_MODEL itself" in fault

    @pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "anthropic_api_key"])
    def test_systemd_credentials_are_read(self, tmp_path, name):
        (tmp_path / name).write_text("sk-ant-1")

        settings = load({"CREDENTIALS_DIRECTORY": str(tmp_path)})

        assert settings.anthropic_api_key == "sk-ant-1"
        assert settings.origin("ANTHROPIC_API_KEY") == "a systemd credential"

    def test_the_environment_goes_before_a_credential_and_a_credential_before_dotenv(self, tmp_path):
        for name in ("ANTHROPIC_API_KEY", "API_SECRET_KEY"):
            (tmp_path / name).write_text("credential")
        (tmp_path / ".env").write_text("API_SECRET_KEY=dotenv")

        settings = load(
            {"CREDENTIALS_DIRECTORY": str(tmp_path), "ANTHROPIC_API_KEY": "environment"}, dotenv=tmp_path / ".env"
        )

        assert (settings.anthropic_api_key, settings.api_secret_key) == ("environment", "credential")

    def test_an_empty_credential_is_a_fault(self, tmp_path):
        (tmp_path / "api_secret_key").touch()

        [fault] = faults({"CREDENTIALS_DIRECTORY": str(tmp_path)})

        assert "api_secret_key is empty" in fault

    def test_nothing_shows_a_secret(self):
        settings = load(
            {
                "API_SECRET_KEY": "hunter2",
                "RELAY_WEBHOOK_SECRET": SECRET,
                "RELAY_STORE": "postgresql://relay:hun%74er3@db/relay",
                "RELAY_ALERT_URL": "https://hooks.example/T0/hunter4?token=1",
            }
        )

        shown = repr(settings) + "".join(settings.shown(row.name) for row in OPTIONS)
        assert "hunter" not in shown and "hun%74er3" not in shown and SECRET not in shown
        assert settings.shown("RELAY_STORE") == "postgresql://relay:***@db/relay"
        assert {"hunter2", SECRET, "hunter3", "hun%74er3"} <= set(settings.secrets())

    def test_missing_settings_are_reported_by_name(self):
        with pytest.raises(ConfigError) as caught:
            load({"API_SECRET_KEY": "x"}).require("API_SECRET_KEY", "ANTHROPIC_API_KEY")

        [fault] = caught.value.problems
        assert fault.startswith("ANTHROPIC_API_KEY is missing")


class TestStore:
    @pytest.mark.parametrize("text", ["./data/relay.db", "data/relay.db", "sqlite:///./data/relay.db"])
    def test_a_relative_path_begins_here(self, tmp_path, text):
        settings = load({"RELAY_STORE": text})

        assert settings.store_path == tmp_path / "data/relay.db"
        assert settings.store == f"sqlite:///{tmp_path}/data/relay.db"

    def test_a_server_has_no_path(self):
        assert load({"RELAY_STORE": "postgresql://h/db"}).store_path is None

    @pytest.mark.parametrize(
        ("here", "kept"),
        [
            (".", "sqlite:///{root}/data/relay.db"),
            ("examples/one", "sqlite:///{root}/data/relay.db"),
            ("..", "sqlite:////var/lib/claude-relay/relay.db"),
        ],
    )
    def test_the_store_of_a_checkout_is_used_inside_it(self, tmp_path, here, kept):
        root = tmp_path / "checkout"
        (root / ".git").mkdir(parents=True)

        environ = {"STATE_DIRECTORY": "/var/lib/claude-relay"}
        assert default_store(root / "claude_relay", (root / here).resolve(), environ) == kept.format(root=root)

    def test_an_installed_package_shares_the_machines_store(self, tmp_path):
        environ = {"STATE_DIRECTORY": "/var/lib/claude-relay"}
        assert default_store(tmp_path / "claude_relay", tmp_path, environ) == "sqlite:////var/lib/claude-relay/relay.db"

    def test_an_ordinary_user_has_a_store_of_their_own(self, tmp_path, monkeypatch):
        """CASES A17: where the machine's folder cannot be written; a service and a user without a home keep it."""
        writable = {str(tmp_path): True}
        monkeypatch.setattr(os, "access", lambda path, mode: writable.get(str(path), False))
        package, system = tmp_path / "claude_relay", "sqlite:////var/lib/claude-relay/relay.db"

        def chosen(**environ):
            return default_store(package, tmp_path, environ)

        assert chosen(HOME=str(tmp_path)) == f"sqlite:///{tmp_path}/.local/state/claude-relay/relay.db"
        assert chosen(HOME="/", XDG_STATE_HOME="/s") == "sqlite:////s/claude-relay/relay.db"
        assert "relay.db" in load({"HOME": "/root", "STATE_DIRECTORY": "/s"}).shown("RELAY_STORE")
        assert chosen(HOME="/nonexistent") == chosen() == system
        assert chosen(HOME=str(tmp_path), RELAY_ENV="production") == system
        assert chosen(HOME=str(tmp_path), STATE_DIRECTORY="/var/lib/claude-relay") == system
        monkeypatch.setattr(os, "access", lambda path, mode: True)
        assert chosen(HOME=str(tmp_path)) == system

    def test_the_settings_of_the_machine_can_be_left_out(self, tmp_path, monkeypatch):
        """CASES A17: as `demo` does; another file can be named."""
        other = tmp_path / "other.env"
        other.write_text("PORT=4711\n")
        monkeypatch.setattr(loader, "ETC", tmp_path / "folder-that-cannot-be-read" / "relay.env")

        assert load({"CLAUDE_RELAY_SETTINGS": str(other)}, dotenv=None, etc=loader.ETC).port == 4711
        assert load({"CLAUDE_RELAY_SETTINGS": ""}, dotenv=None, etc=loader.ETC).port == 3000
        other.write_text("PORT=no-port\n")
        monkeypatch.setattr(loader, "ETC", other)
        assert load(demo._environment(tmp_path, "k" * 32), dotenv=None, etc=loader.ETC).port == 0

    def test_load_uses_the_checkout_of_the_working_directory(self, tmp_path, monkeypatch):
        root = tmp_path / "checkout"
        (root / ".git").mkdir(parents=True)
        monkeypatch.setattr(loader, "PACKAGE", root / "claude_relay")
        monkeypatch.chdir(root)

        assert load().store_path == root / "data/relay.db"


def test_a_client_of_a_remote_relay_needs_no_settings_of_this_machine(tmp_path):
    unreadable = tmp_path

    assert load({"RELAY_URL": "https://relay.example.com"}, etc=unreadable).url == "https://relay.example.com"


def test_the_policy_has_the_settings_values_by_name():
    assert policy(Settings()) == Policy(model=Settings().model)

    other = policy(Settings(lease=7.0, webhook_timeout=45.0, retention=3.0))
    assert (other.lease, other.webhook_lease, other.retention) == (7.0, 90.0, 3.0)


@pytest.mark.parametrize(
    "text, keys",
    [
        ("one", ("one",)),
        ("old,new", ("old", "new")),
        ("old, new", ("old", "new")),
        ("a,b,c", ("a,b,c",)),
        ("tail,", ("tail,",)),
        ("", ()),
    ],
)
def test_api_secret_key_has_two_keys_during_a_change(text, keys):
    """CASES A16: both are kept out of logs; a text with more commas is one key, as before."""
    settings = load({"API_SECRET_KEY": text})

    assert settings.admin_keys == keys
    assert set(keys) <= set(settings.secrets())


@pytest.mark.parametrize("text", ["Bearer one", "old,new key", "new,år"])
def test_a_text_that_is_no_pair_of_keys_is_refused(text):
    """CASES A16: as a single key with a space or a letter beyond ASCII is."""
    [fault] = faults({"API_SECRET_KEY": text})

    assert "API_SECRET_KEY" in fault and text not in fault
