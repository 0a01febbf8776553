"""The command that starts another process of the program, in the version installed at that time."""

from __future__ import annotations

from claude_relay import self_command


def test_a_checkout_starts_itself():
    assert self_command.self_command("/home/me/relay/.venv/bin/python") == [
        "/home/me/relay/.venv/bin/python",
        "-m",
        "claude_relay",
    ]


def test_an_installed_one_starts_the_newest(tmp_path):
    old, new = (tmp_path / "releases" / name / "bin" for name in ("1.0", "1.1"))
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "claude-relay").touch()
    (tmp_path / "bin").symlink_to(new)

    assert self_command.self_command(str(old / "python")) == [str(tmp_path / "bin" / "claude-relay")]
