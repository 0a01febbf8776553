"""A part of the machine that is missing is a counted skip on a laptop and a failure in CI."""

import pytest

from tests.support.needs import needs


def test_what_is_there_is_found():
    assert needs("sh").endswith("/sh")


def test_what_is_missing_skips_on_a_laptop(monkeypatch):
    monkeypatch.delenv("CI", raising=False)

    with pytest.raises(pytest.skip.Exception, match="apt-get install some-package"):
        needs("no-such-program", "some-package")


def test_what_is_missing_fails_in_ci(monkeypatch):
    monkeypatch.setenv("CI", "true")

    with pytest.raises(pytest.fail.Exception, match=r"no-such-program.*\.ci/run"):
        needs("no-such-program")
