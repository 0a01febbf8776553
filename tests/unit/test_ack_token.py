"""The token of an ackUrl: the right to acknowledge one result, and nothing else."""

from __future__ import annotations

import base64
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.deliveries.ack_token import make_token, read_token
from claude_relay.core.text.ids import ulid

SECRET = bytes(range(32))
JOB = ulid(1_800_000_000.0, b"0123456789")


def test_a_token_names_its_run_and_fits_a_url() -> None:
    token = make_token(SECRET, JOB, 7)

    assert read_token(SECRET, token) == (JOB, 7)
    assert set(token) <= set(string.ascii_letters + string.digits + "-_") and len(token) == 52
    assert token == make_token(SECRET, JOB, 7)


@given(st.floats(0, 2**40), st.binary(min_size=10, max_size=10), st.integers(1, 2**24 - 1))
def test_every_job_and_run_round_trips(at: float, entropy: bytes, run: int) -> None:
    assert read_token(SECRET, make_token(SECRET, ulid(at, entropy), run)) == (ulid(at, entropy), run)


def test_runs_jobs_and_secrets_have_tokens_of_their_own() -> None:
    tokens = {
        make_token(SECRET, JOB, 1),
        make_token(SECRET, JOB, 2),
        make_token(SECRET, ulid(1_800_000_000.0, b"9876543210"), 1),
        make_token(SECRET[::-1], JOB, 1),
    }

    assert len(tokens) == 4
    assert read_token(SECRET[::-1], make_token(SECRET, JOB, 1)) is None


def test_no_character_can_be_changed() -> None:
    """Neither the job, nor the run, nor the signature; every bit of a character counts."""
    token = make_token(SECRET, JOB, 1)
    letters = string.ascii_letters + string.digits + "-_"

    for place in range(len(token)):
        for letter in random.Random(place).sample(letters, 8):
            if letter != token[place]:
                assert read_token(SECRET, token[:place] + letter + token[place + 1 :]) is None


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "=" * 52,
        "A" * 51,
        "A" * 53,
        "A" * 52,
        "é" * 52,
        "A" * 50 + "==",
        " " + "A" * 51,
        "+/" * 26,
        "A" * 100_000,
    ],
)
def test_malformed_tokens_are_none(token: str) -> None:
    assert read_token(SECRET, token) is None


def test_other_ways_to_write_the_same_bytes_are_none() -> None:
    """Base64 with + and / is not the form of a token."""
    token = next(one for run in range(1, 99) if "-" in (one := make_token(SECRET, JOB, run)))

    assert base64.b64decode(token.replace("-", "+").replace("_", "/"))
    assert read_token(SECRET, token.replace("-", "+")) is None


@given(st.text(max_size=80))
def test_any_text_is_read_without_a_fault(text: str) -> None:
    assert read_token(SECRET, text) is None
