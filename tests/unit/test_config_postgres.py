"""RELAY_STORE=postgresql://…: accepted and refused URLs, their sources, and hidden passwords."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from claude_relay.config import OPTIONS, load
from claude_relay.config.postgres import is_remote, names, passwords, shown
from claude_relay.errors import ConfigError

LOCAL = "postgresql://claude-relay@/claude-relay?host=/run/postgresql"


def read(environ, **more):
    return load(environ, **{"dotenv": None, "etc": None, **more})


def fault(text):
    with pytest.raises(ConfigError) as caught:
        read({"RELAY_STORE": text})
    [problem] = caught.value.problems

    return problem


@pytest.mark.parametrize(
    ("text", "display"),
    [
        ("postgresql://relay@db/relay", "postgresql://relay@db/relay"),
        ("postgres://relay:pass:word@db:5433/relay?sslmode=verify-full", "postgresql://relay@db:5433/relay"),
        ("postgresql://relay:p%40ss%2Fword@[::1]:5432/relay", "postgresql://relay@[::1]:5432/relay"),
        (LOCAL, LOCAL),
        ("postgresql://%2Frun%2Fpostgresql/relay?user=relay&password=hunter2", f"{LOCAL}".replace("claude-", "")),
        ("postgresql:///relay", "postgresql:///relay"),
        ("postgresql://db?dbname=relay&port=5433", "postgresql://db:5433/relay"),
        ("postgresql://r:hunter2@a:1,b:2/relay?target_session_attrs=read-write", "postgresql://r@a:1,b:2/relay"),
        ("postgresql://relay@db.example.com./relay?passfile=/etc/pgpass", "postgresql://relay@db.example.com./relay"),
        ("postgresql://relay@/relay?hostaddr=10.0.0.5", "postgresql://relay@10.0.0.5/relay"),
    ],
)
def test_a_url_is_accepted_and_shown_without_its_secrets(text, display):
    settings = read({"RELAY_STORE": text})

    assert settings.store.replace("postgresql", "postgres", 1) == text.replace("postgresql", "postgres", 1)
    assert settings.store_path is None
    assert settings.store_shown == display
    assert "," in display or read({"RELAY_STORE": display}).store_shown == display


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("postgresql://relay:hunter2@db", "name the database: postgresql://USER@HOST/NAME"),
        ("postgresql://relay:hunter2@db/", "name the database"),
        ("postgresql://", "name the database"),
        ("postgresql://relay:hunter2@db:port/relay", "its port is not a number from 1 to 65535"),
        ("postgresql://relay:hunter2@db:70000/relay", "from 1 to 65535"),
        ("postgresql://relay:hunter2@db:0/relay", "from 1 to 65535"),
        ("postgresql://relay:hunter2/relay", "its port is not a number"),
        ("postgresql://relay:hunter2/hunter2@db/relay", "as %2F"),
        ("postgresql://relay:hunter2?hunter2@db/relay", "%3F"),
        ("postgresql://relay:hunter2#hunter2@db/relay", "%23"),
        ("postgresql://relay:hunter2@hunter2@db/relay", "%40"),
        ("postgresql://anna@example.com:hunter2@db/relay", "%40"),
        ("postgresql://anna@example.com:hunter2/relay", "its port is not a number"),
        ("postgresql://relay:p@ss:hunter2/relay", "its port is not a number"),
        ("postgresql://re/lay:hunter2@db/relay", "%2F"),
        ("postgresql://relay:hunter2%@db/relay", "%25"),
        ("postgresql://relay:hunter2%DB@db/relay", "%25"),
        ("postgresql://relay@db/relay?options=-c search_path=x", "cannot contain spaces"),
        ("postgresql://relay@db/relay?options=-csearch_path=x", "NAME=value"),
        ("postgresql://relay:hunter2%00@db/relay", "%25"),
        ("postgresql://relay:hunter2 hunter2@db/relay", "cannot contain spaces"),
        ("postgresql://relay:hunter2@[::g]/relay", "an IPv6 address"),
        ("postgresql://relay:hunter2@-db-/relay", "not a name or an IP address"),
        ("postgresql://relay:hunter2@db/relay/more", "%2F"),
        ("postgresql://relay:hunter2@db/relay?ssl_mode=require", "such as sslmode"),
        ("postgresql://relay:hunter2@db/relay?sslmode", "NAME=value"),
        ("postgresql://relay:hunter2@db/relay?sslmode=yes", "disable, allow, prefer"),
        ("postgresql://relay:hunter2@db/relay?port=x", "from 1 to 65535"),
        ("postgresql://relay:hunter2@a,b/relay", "target_session_attrs=read-write"),
        ("postgresql://relay:hunter2@db/relay?target_session_attrs=standby", "a standby accepts no jobs"),
        ("postgresql+psycopg://relay:hunter2@db/relay", "without a driver name"),
        ("postgre://relay:hunter2@db/relay", "SQLite or PostgreSQL"),
        ("host=db user=relay password=hunter2 dbname=relay", "postgresql://USER@HOST/NAME"),
        ("host=db user=relay password = 'hunter2 hunter2' dbname=relay", "postgresql://USER@HOST/NAME"),
    ],
)
def test_an_invalid_url_is_refused_with_the_cure_and_no_password(text, cure):
    message = fault(text)

    assert message.startswith("RELAY_STORE from the environment is ")
    assert cure in message and message.count("\n") == 0
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://relay:hun%74er2@db/relay",
        "postgresql://relay@db/relay?password=hun%74er2",
        "postgresql://relay@db/relay?sslkey=/k&sslpassword=hun%74er2",
    ],
)
def test_no_form_of_a_password_is_shown(text):
    settings = read({"RELAY_STORE": text})

    everything = [repr(settings), settings.store_shown, *(settings.shown(row.name) for row in OPTIONS)]
    assert not any("hunter2" in item or "hun%74er2" in item for item in everything)
    assert {"hunter2", "hun%74er2"} <= set(settings.secrets())
    assert set(passwords(text)) == {"hunter2", "hun%74er2"}


_WORDS = st.text(st.sampled_from("ab5/?#@%:=&[]+ '\"\\é.,-_"), max_size=8)
_ESCAPED = _WORDS.map(lambda text: quote(text, safe=""))


@given(user=_ESCAPED | _WORDS, password=_ESCAPED | _WORDS, name=_ESCAPED | _WORDS, query=_WORDS, value=_ESCAPED)
def test_libpq_accepts_the_same_urls_with_the_same_password(user, password, name, query, value):
    """Otherwise an operator would see libpq's own error, which may quote the URL."""
    text = f"postgresql://{user}:{password}@db/{name}?{query}&application_name={value}"
    try:
        settings = read({"RELAY_STORE": text})
    except ConfigError as exc:
        assert len(password) < 5 or password.isalnum() or f":{password}@" not in str(exc)
        return
    display = conninfo_to_dict(settings.store)

    assert display.get("password", "") in (*settings.secrets(), "")
    assert (display.get("user", ""), display.get("dbname", "")) == (names(settings.store)[0], names(settings.store)[1])


def test_a_file_is_shown_as_it_is():
    assert read({"RELAY_STORE": "/srv/a:b/relay.db"}).store_shown == "/srv/a:b/relay.db"
    assert read({"RELAY_STORE": "sqlite:////srv/a:b.db"}).shown("RELAY_STORE") == "sqlite:////srv/a:b.db"
    assert passwords("sqlite:////srv/a:b.db") == ()


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        (LOCAL, False),
        ("postgresql:///relay", False),
        ("postgresql://%2Frun%2Fpostgresql/relay", False),
        ("postgresql://relay@localhost/relay", True),
        ("postgresql:///relay?host=db", True),
        ("postgresql:///relay?host=/run/postgresql,db&target_session_attrs=read-write", True),
        ("postgresql:///relay?hostaddr=10.0.0.5", True),
    ],
)
def test_a_server_reached_over_tcp_is_remote(url, remote):
    assert is_remote(url) is remote
    assert shown(url).startswith("postgresql://")


class TestWhereItLies:
    """It may contain a password, so it may be stored like a secret."""

    SECRET = "postgresql://relay:hunter2@db/relay"

    def test_a_systemd_credential_is_read(self, tmp_path):
        (tmp_path / "RELAY_STORE").write_text(self.SECRET + "\n")

        settings = read({"CREDENTIALS_DIRECTORY": str(tmp_path)})

        assert settings.store == self.SECRET
        assert settings.origin("RELAY_STORE") == "a systemd credential"

    def test_without_a_credential_the_settings_file_is_used(self, tmp_path):
        """The unit provides `-` for a credential that the sysadmin has not created."""
        (tmp_path / "RELAY_STORE").write_text("-")
        (tmp_path / "etc.env").write_text(f"RELAY_STORE={LOCAL}\n")

        assert read({"CREDENTIALS_DIRECTORY": str(tmp_path)}, etc=tmp_path / "etc.env").store == LOCAL

    def test_a_file_of_its_own_is_read(self, tmp_path):
        (tmp_path / "store").write_text(self.SECRET)

        assert read({"RELAY_STORE_FILE": str(tmp_path / "store")}).store == self.SECRET

    def test_a_daemon_that_has_the_credential_needs_not_read_the_file(self, tmp_path):
        """RELAY_STORE_FILE in the settings is for root's command line: a daemon need not read it."""
        (tmp_path / "RELAY_STORE").write_text(self.SECRET)
        (tmp_path / "etc.env").write_text("RELAY_STORE_FILE=/nowhere/RELAY_STORE\n")

        assert read({"CREDENTIALS_DIRECTORY": str(tmp_path)}, etc=tmp_path / "etc.env").store == self.SECRET

    def test_without_either_loading_fails_rather_than_using_another_store(self, tmp_path):
        with pytest.raises(ConfigError, match="RELAY_STORE_FILE cannot be read from /nowhere/RELAY_STORE"):
            read({"RELAY_STORE_FILE": "/nowhere/RELAY_STORE"})

    def test_without_all_keys_an_unreadable_secret_is_no_fault(self):
        """`config check --no-keys`, which a reload runs: systemd shows it no credentials."""
        assert read({"RELAY_STORE_FILE": "/nowhere/RELAY_STORE"}, all_keys=False).store_path is not None
