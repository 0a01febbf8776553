"""Signatures: ours against an independent library, and against committed vectors."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from claude_relay.core.deliveries.signing import InvalidSignature, decode_secret, encode_secret, sign, verify
from claude_relay.errors import ConfigError

OLD = encode_secret(bytes(range(32)))
NEW = encode_secret(bytes(range(32, 64)))
OTHER = encode_secret(bytes(range(64, 96)))
BODY = '{"requestId":"faktura-1","response":"Blåbær"}'.encode()
NOW = 1767225600.0
VECTORS = json.loads(Path(__file__).parents[1].joinpath("vectors/signatures.json").read_text("utf-8"))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_vectors_hold_both_ways(vector):
    """
    The committed signatures, made by another implementation, are made and accepted here, byte for byte.
    """
    body = vector["body"].encode()
    headers = sign(vector["webhookId"], vector["timestamp"], body, vector["secrets"])

    assert vector["signature"] == headers["webhook-signature"]
    for secret in vector["secrets"]:
        verify(headers, body, [secret], now=vector["timestamp"])


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_either_secret_of_a_rotation_verifies_with_the_library(secret):
    """
    While a secret is being rotated, a receiver with the old one and a receiver with the new one both accept.
    """
    headers = sign("wh_1", time.time(), BODY, [NEW, OLD])

    assert json.loads(BODY) == Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(BODY, headers)


@given(body=st.text(), key=st.binary(min_size=24, max_size=64))
def test_any_text_and_key_verify_with_the_library(body, key):
    """
    Whatever is sent, the library agrees with us; it wants the time of now, so that is what it gets.
    """
    data = body.encode("utf-8", "replace")
    headers = sign("wh_1", time.time(), data, [encode_secret(key)])

    Webhook(key).verify(data, headers, json_parse=False)


def test_without_secrets_only_the_id_and_timestamp_are_sent():
    """
    An unsigned webhook still carries the id by which repeats are dropped.
    """
    assert sign("wh_1", NOW + 0.9, BODY, []) == {"webhook-id": "wh_1", "webhook-timestamp": "1767225600"}


def _signed(**changed):
    return {**sign("wh_1", NOW, BODY, [OLD]), **changed}


_SIGNATURE = _signed()["webhook-signature"]


@pytest.mark.parametrize(
    ("headers", "body", "secrets", "now", "why"),
    [
        (_signed(), BODY, [NEW], NOW, "no signature matches"),
        (_signed(), BODY, [], NOW, "no signature matches"),
        (_signed(), BODY + b" ", [OLD], NOW, "no signature matches"),
        (_signed(**{"webhook-id": "wh_2"}), BODY, [OLD], NOW, "no signature matches"),
        (_signed(**{"webhook-id": "blå"}), BODY, [OLD], NOW, "no signature matches"),
        (_signed(**{"webhook-timestamp": "1767225601"}), BODY, [OLD], NOW, "no signature matches"),
        (_signed(**{"webhook-signature": "v1,é v1, v1 v1a,x ,"}), BODY, [OLD], NOW, "no signature matches"),
        (_signed(), BODY, [OLD], NOW + 301, "too old"),
        (_signed(), BODY, [OLD], NOW - 301, "too far in the future"),
        (_signed(**{"webhook-timestamp": "soon"}), BODY, [OLD], NOW, "not a whole number"),
        (_signed(**{"webhook-timestamp": "9" * 5000}), BODY, [OLD], NOW, "not a whole number"),
        (_signed(**{"webhook-timestamp": "9" * 13}), BODY, [OLD], NOW, "not a whole number"),
        (_signed(**{"webhook-timestamp": "9" * 12}), BODY, [OLD], NOW, "too far in the future"),
        (_signed(**{"webhook-signature": _SIGNATURE.replace(",", ",!")}), BODY, [OLD], NOW, "no signature matches"),
        (_signed(**{"webhook-timestamp": "-1"}), BODY, [OLD], NOW, "not a whole number"),
        (_signed(**{"webhook-signature": ""}), BODY, [OLD], NOW, "webhook-signature is missing"),
        ({}, BODY, [OLD], NOW, "webhook-id is missing"),
    ],
)
def test_a_body_without_a_valid_signature_is_refused(headers, body, secrets, now, why):
    """
    Another secret, body, id or time is refused, and the refusal says which it was.
    """
    with pytest.raises(InvalidSignature, match=why):
        verify(headers, body, secrets, now=now)


@pytest.mark.parametrize("now", [NOW - 300, NOW, NOW + 300])
def test_header_names_are_case_insensitive_and_other_versions_are_skipped(now):
    """
    Proxies change the case of names; a later version of the scheme may stand beside ours.
    """
    signed = _signed()
    headers = {name.title(): value for name, value in signed.items()}
    headers["Webhook-Signature"] = f"v2,AAAA v1,%% {signed['webhook-signature']}"

    verify(headers, BODY, [NEW, OLD], now=now)


@pytest.mark.parametrize("webhook_id", ["a.b", "a\r\nx: y", "blå"])
def test_an_id_that_makes_the_signed_text_ambiguous_is_refused(webhook_id):
    """
    A dot, a line break or a letter beyond ASCII in the id never reaches the wire.
    """
    with pytest.raises(ValueError, match="webhook id"):
        sign(webhook_id, NOW, BODY, [OLD])


def test_a_secret_reads_as_it_was_written():
    """
    With or without the prefix and the padding, a secret is the same key.
    """
    key = bytes(range(25))
    bare = base64.b64encode(key).decode()

    assert {
        decode_secret(f"whsec_{bare}"),
        decode_secret(bare.rstrip("=")),
        decode_secret(f" {bare}\n"),
        decode_secret(encode_secret(key)),
    } == {key}


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64!", "whsec_é", OLD + OLD[6:]])
def test_a_bad_secret_is_named_but_not_repeated(secret):
    """
    A secret that cannot be one stops the start, in a sentence that does not give it away.
    """
    with pytest.raises(ConfigError, match="RELAY_WEBHOOK_SECRET") as caught:
        sign("wh_1", NOW, BODY, [secret])

    assert secret.removeprefix("whsec_") not in str(caught.value) or len(secret) < 7
