"""The generated documentation is up to date."""

import re
from pathlib import Path

import pytest

from claude_relay.config import OPTIONS, Settings, load, write_env_example, write_table
from claude_relay.config.docs import BEGIN, END, rewrite, splice

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / ".env.example"
SETTINGS = ROOT / "docs/reference/settings.md"


def test_the_env_example_is_up_to_date():
    assert EXAMPLE.read_text() == write_env_example(OPTIONS), "run: make docs"


def test_the_settings_page_is_up_to_date():
    page = SETTINGS.read_text()

    assert page == splice(page, write_table(OPTIONS)), "run: make docs"
    assert page.count(BEGIN) == page.count(END) == 1


def test_the_env_example_opens_only_required_settings():
    opened = re.findall(r"^([A-Z_]+)=", EXAMPLE.read_text(), re.MULTILINE)

    assert opened == ["ANTHROPIC_API_KEY", "API_SECRET_KEY"]


def test_the_env_example_holds_the_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opened = tmp_path / "opened.env"
    opened.write_text(re.sub(r"^#(?=[A-Z_]+=)", "", EXAMPLE.read_text(), flags=re.MULTILINE))

    for path in (EXAMPLE, opened):
        assert load({}, dotenv=path, etc=None) == Settings()
    assert len(re.findall(r"^[A-Z_]+=", opened.read_text(), re.MULTILINE)) == len(OPTIONS)


def test_every_option_has_a_sentence():
    for row in OPTIONS:
        assert row.sentence.endswith(".") and len(row.sentence) < 100 and "|" not in row.sentence, row.name


def test_both_files_are_regenerated(tmp_path):
    page = tmp_path / "docs/reference/settings.md"
    page.parent.mkdir(parents=True)
    page.write_text(f"before\n{BEGIN}\nwhat stood there\n{END}\nafter\n")
    rewrite(tmp_path, OPTIONS)
    once = page.read_text()
    rewrite(tmp_path, OPTIONS)

    assert once.startswith("before\n") and once.endswith("after\n") and "what stood there" not in once
    assert page.read_text() == once
    assert (tmp_path / ".env.example").read_text() == EXAMPLE.read_text()


def test_a_page_without_markers_is_left_alone():
    with pytest.raises(ValueError, match="options:begin"):
        splice("nothing here", "table")
