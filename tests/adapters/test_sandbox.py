"""The sandbox over real sockets, with the installed `anthropic` client and with a raw one."""

import base64
import contextlib
import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import requests
from jsonschema import Draft202012Validator

from claude_relay.sandbox import Sandbox
from claude_relay.sandbox.connection import MAX_BODY
from tests.support.eventually import eventually

HEADERS = {"x-api-key": "any", "anthropic-version": "2026-10-21"}
SCHEMA = {
    "type": "object",
    "properties": {f"felt{number}Dato": {"type": "string", "format": "date"} for number in range(133)},
    "required": [f"felt{number}Dato" for number in range(133)],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def anthropic():
    return pytest.importorskip("anthropic")


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def claude(anthropic, sandbox):
    with anthropic.Anthropic(api_key="any", base_url=sandbox.url, max_retries=0) as client:
        yield client


def ask(prompt, **more):
    return {
        "model": "claude-sonnet-5-5",
        "max_tokens": 8000,
        "messages": [{"role": "user", "content": prompt}],
        **more,
    }


def call_of(sandbox, prompt):
    """The last call with this prompt in the books."""
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    return next((call for call in reversed(sandbox.books.calls()) if call["prompt_sha256"] == digest), None)


def test_the_client_streams_an_answer(claude, sandbox):
    with claude.messages.stream(**ask("What is a relay?")) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()

    assert len(pieces) > 1
    assert "sandbox" in message.content[0].text and "relay?" in message.content[0].text
    assert message.id.startswith("msg_sandbox_")
    assert (message.stop_reason, message.model) == ("end_turn", "claude-sonnet-5-5")
    assert stream.response.headers["x-claude-relay-sandbox"] == "1"
    assert stream.response.headers["anthropic-ratelimit-requests-remaining"].isdigit()

    call = call_of(sandbox, "What is a relay?")
    assert (call["status"], call["ended"], call["stream"]) == (200, "finished", True)
    assert call["request_id"] == stream.response.headers["request-id"]
    assert call["output_tokens"] == message.usage.output_tokens


def test_the_client_gets_133_fields_that_validate(claude):
    wanted = {"format": {"type": "json_schema", "schema": SCHEMA}}

    with claude.messages.stream(**ask("Les fakturaen", output_config=wanted)) as stream:
        value = json.loads(stream.get_final_text())

    Draft202012Validator(SCHEMA).validate(value)
    assert len(value) == 133


def test_a_count_agrees_with_what_the_answer_used(claude):
    counted = claude.messages.count_tokens(model="claude-opus-5-5", messages=ask("How many?")["messages"])
    message = claude.messages.create(**ask("How many?"))

    assert counted.input_tokens == message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0


def test_the_client_lists_every_page_of_models(claude):
    listed = list(claude.models.list(limit=4, lifecycle=["active", "deprecated", "retired"]))

    assert len({model.id for model in listed}) == len(listed) > 12
    assert {model.lifecycle for model in listed} == {"active", "deprecated", "retired"}
    assert claude.models.retrieve("claude-opus-5-5").capabilities.structured_outputs.supported


def test_an_overload_ends_after_its_attempts(claude, anthropic):
    body = ask("Twice [sandbox: overloaded 2]")

    for _ in range(2):
        with pytest.raises(anthropic.OverloadedError) as caught:
            claude.messages.create(**body)
        assert caught.value.type == "overloaded_error"
        assert caught.value.request_id.startswith("req_sandbox_")
        assert "sandbox" in caught.value.api_message

    assert claude.messages.create(**body).stop_reason == "end_turn"


def test_a_rate_limit_has_its_retry_after(claude, anthropic):
    with pytest.raises(anthropic.RateLimitError) as caught:
        claude.messages.create(**ask("[sandbox: rate-limit 3s]"))

    assert caught.value.response.headers["retry-after"] == "3"
    assert caught.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"


def test_a_spend_limit_has_its_code_and_no_time(claude, anthropic):
    with pytest.raises(anthropic.RateLimitError) as caught:
        claude.messages.create(**ask("[sandbox: spend-limit]"))

    assert caught.value.error_code == "enforced_spend_limit_reached"
    assert "retry-after" not in caught.value.response.headers


def test_a_break_reaches_the_client_as_a_broken_connection_and_only_once(claude, sandbox):
    prompt = "Break it [sandbox: break 1]"
    seen = []

    # The client passes on the bare error of its transport; its type is not part of the client's API.
    with pytest.raises(Exception, match="peer closed connection"), claude.messages.stream(**ask(prompt)) as stream:
        seen.extend(event.type for event in stream)
    assert "content_block_delta" in seen and "message_stop" not in seen
    assert call_of(sandbox, prompt)["ended"] == "cut"

    assert claude.messages.create(**ask(prompt)).stop_reason == "end_turn"


def test_a_stream_can_end_tidily_without_its_end(claude):
    with claude.messages.stream(**ask("[sandbox: end-early]")) as stream:
        seen = [event.type for event in stream]

    assert "content_block_delta" in seen and "message_stop" not in seen


def test_an_error_can_come_inside_the_200(claude, anthropic):
    with pytest.raises(anthropic.APIStatusError) as caught:
        with claude.messages.stream(**ask("[sandbox: stream-error overloaded_error]")) as stream:
            list(stream)

    assert (caught.value.status_code, caught.value.type) == (200, "overloaded_error")


def test_a_refusal_is_a_200_without_content(claude):
    message = claude.messages.create(**ask("[sandbox: refuse]"))

    assert (message.stop_reason, message.content) == ("refusal", [])
    assert "sandbox" in message.stop_details.explanation


def test_slow_takes_its_time_and_hang_withholds_the_first_byte(claude):
    started = time.monotonic()
    with claude.messages.stream(**ask("[sandbox: hang 150ms] [sandbox: slow 200ms]")) as stream:
        first = time.monotonic() - started
        list(stream)
    total = time.monotonic() - started

    assert 0.15 <= first < total
    assert total >= 0.35


def post(sandbox, body, **more):
    return requests.post(f"{sandbox.url}/v1/messages", json=body, **{"headers": HEADERS, "timeout": 60, **more})


def test_without_a_key_it_is_401(sandbox):
    answer = post(sandbox, ask("Hi"), headers={"anthropic-version": "2026-10-21"})

    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
    assert answer.json()["request_id"] == answer.headers["request-id"]


def test_sampling_parameters_are_refused_as_upstream_refuses_them(sandbox):
    answer = post(sandbox, ask("Hi", temperature=0.5))

    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "temperature" in answer.json()["error"]["message"]


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"a": NaN}', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_400(sandbox, data):
    answer = requests.post(f"{sandbox.url}/v1/messages", data=data, headers=HEADERS, timeout=60)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("claude-relay sandbox")


def test_odd_strings_and_deep_nesting_are_no_internal_error(sandbox):
    chain = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(2000)}
    deep = {"$ref": "#/$defs/d0", "$defs": {**chain, "d2000": {"type": "string"}}}
    odd = {"type": "object", "properties": {"\ud800": {"type": "string"}}, "additionalProperties": False}

    for schema, status in ((deep, 400), (odd, 200)):
        wanted = {"format": {"type": "json_schema", "schema": schema}}
        assert post(sandbox, ask("Odd \udfff text", output_config=wanted)).status_code == status


def test_a_body_over_the_limit_is_413_before_it_is_read(sandbox):
    with raw(sandbox) as client:
        client.sendall(f"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {MAX_BODY + 1}\r\n\r\n{{".encode())
        client.shutdown(socket.SHUT_WR)

        assert b" 413 " in read_all(client)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"PUT /v1/messages HTTP/1.1\r\nhost: x\r\n\r\n", b" 405 "),
        (b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", b" 411 "),
        (b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", b" 400 "),
        (b"GET /nothing HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\nconnection: close\r\n\r\n", b" 404 "),
        (b"not http at all\r\n\r\n", b" 400 "),
    ],
)
def test_malformed_http_is_answered_in_the_shape_of_other_errors(sandbox, request_line, status):
    with raw(sandbox) as client:
        client.sendall(request_line)
        answer = read_all(client)

    assert status in answer.split(b"\r\n")[0]
    assert b"claude-relay sandbox (not Anthropic)" in answer


def test_a_disconnect_is_recorded_in_the_books(sandbox, capfd):
    prompt = "Never mind [sandbox: hang 60s]"
    with raw(sandbox) as client:
        send(client, ask(prompt))
        eventually(lambda: call_of(sandbox, prompt))

    eventually(lambda: call_of(sandbox, prompt)["ended"] == "disconnected")
    assert capfd.readouterr().err == ""


def test_the_books_hold_no_prompt(sandbox):
    post(sandbox, ask("A very secret prompt"))
    books = requests.get(f"{sandbox.url}/sandbox/books", timeout=60)

    assert "secret" not in books.text
    assert hashlib.sha256(b"A very secret prompt").hexdigest() in books.text
    assert all(call["path"] != "/sandbox/books" for call in books.json())


def test_stopping_ends_open_streams_and_leaves_no_thread():
    sandbox = Sandbox().start()
    with raw(sandbox) as client:
        send(client, ask("[sandbox: stall]", stream=True))
        received = client.recv(65536)
        eventually(lambda: sandbox.books.calls()[-1]["status"] == 200)
        started = time.monotonic()
        sandbox.stop()
        rest = read_all(client)

    assert received.startswith(b"HTTP/1.1 200")
    assert b"message_stop" not in received + rest
    assert time.monotonic() - started < 60
    assert sandbox.books.calls()[-1]["ended"] == "stopped"
    sandbox.stop()


def test_the_books_survive_a_restart():
    sandbox = Sandbox()
    with pytest.raises(RuntimeError, match="start it first"):
        _ = sandbox.url
    for _ in range(2):
        with sandbox:
            assert post(sandbox, ask("Again")).status_code == 200

    assert len(sandbox.books.calls()) == 2


def test_many_calls_at_once_are_all_answered(sandbox):
    answers = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(post(sandbox, ask(f"Call {n} [sandbox: hang 50ms]"))))
        for n in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [answer.status_code for answer in answers] == [200] * 40


@pytest.mark.process
def test_it_runs_alone_until_sigterm():
    command = [sys.executable, "-m", "claude_relay.sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
            assert "sandbox" in requests.get(url, timeout=60).text
            port = url.rsplit(":", 1)[1]
            taken = subprocess.run([*command[:-1], port], capture_output=True, text=True, timeout=60)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()

    assert (process.returncode, out, err) == (0, "", "")
    assert (taken.returncode, taken.stdout) == (69, "")
    assert taken.stderr.startswith(f"The sandbox cannot listen on 127.0.0.1:{port}")


@contextlib.contextmanager
def raw(sandbox):
    host, port = sandbox.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        yield client


def send(client, body):
    data = json.dumps(body).encode()
    lines = ["POST /v1/messages HTTP/1.1", "host: x", *(f"{name}: {value}" for name, value in HEADERS.items())]
    client.sendall("\r\n".join([*lines, f"content-length: {len(data)}", "", ""]).encode() + data)


def read_all(client):
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_files_are_stored_read_and_deleted_through_the_client(anthropic, claude, sandbox):
    """Byte for byte; a document has the same tokens by id as by its bytes."""
    pdf = (b"%PDF-1.7\n<< /Type /Page >>\r\n--" + bytes(range(256)) + b"\r\n\r") * 2
    stored = claude.files.upload(file=("a/b.pdf", pdf, "application/pdf"), expires_in_seconds=3600)
    seen = claude.files.retrieve_metadata(stored.id)
    inside = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(pdf).decode()}
    counts = [
        claude.messages.create(**ask([{"type": "document", "source": source}, {"type": "text", "text": "Hei"}]))
        for source in ({"type": "file", "file_id": stored.id}, inside)
    ]

    assert (seen.filename, seen.mime_type, seen.size_bytes) == ("b.pdf", "application/pdf", len(pdf))
    assert (seen.expires_at - seen.created_at).total_seconds() == 3600
    assert counts[0].usage.input_tokens == counts[1].usage.input_tokens > 4000
    assert stored.id in [file.id for file in claude.files.list(limit=1)]
    assert stored.id in [call["file_id"] for call in sandbox.books.calls() if call["path"] == "/v1/files"]
    claude.files.delete(stored.id)
    with pytest.raises(anthropic.NotFoundError):
        claude.files.retrieve_metadata(stored.id)
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(**ask([{"type": "image", "source": {"type": "file", "file_id": stored.id}}]))


@pytest.mark.parametrize("fields", [{}, {"expires_in_seconds": "10"}])
def test_a_form_without_a_file_is_refused(sandbox, fields):
    headers = HEADERS | {"content-type": "multipart/form-data; boundary=b"}
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nabc\r\n' if fields else b""
    parts = [f'--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
    answer = requests.post(
        f"{sandbox.url}/v1/files", data=file + b"".join(parts) + b"--b--\r\n", headers=headers, timeout=60
    )

    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
