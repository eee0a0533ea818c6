"""Bodies that are no JSON, or not said to be."""

import asyncio
import json

import fastapi
import pytest

from prompt_tuning.serving import bodies, shapes
from prompt_tuning.serving.refusals import Refusal

JSON = "application/json"


def read(body, kind=JSON):
    """What is read of a body, given as bytes or as what JSON holds."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = [(b"content-type", kind.encode())] if kind else []
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}

    async def receive():
        return {"type": "http.request", "body": body}

    request = fastapi.Request(scope, receive)
    return asyncio.run(bodies.body_of(shapes.Classification)(request))


GOOD = {"model": "m", "input": "x"}


def test_a_body_becomes_its_paths_request():
    assert read(GOOD).texts() == ["x"]
    assert read(GOOD, "Application/JSON; charset=utf-8").model == "m"
    assert read({**GOOD, "input": "é\u2028\x00"}).input == "é\u2028\x00"


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded"]
)
def test_a_body_must_be_said_to_be_json(kind):
    with pytest.raises(Refusal, match="Content-Type: application/json") as refusal:
        read(GOOD, kind)
    assert refusal.value.status == 415


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"model=m",
        b"\xff\xfe",
        b'{"model": "m", "input": "\\ud800"}',
        b'{"model": "m", "model": "n", "input": "x"}',
        b'{"model": "m", "input": NaN}',
        b"[" * 100_000,
        b"[" * 500 + b"]" * 500,
        b"1" * 5_000,
        b'{"model": "m", "input": 1e999}',
    ],
)
def test_what_is_no_json_is_refused(body):
    with pytest.raises(Refusal, match="no JSON") as refusal:
        read(body)
    assert refusal.value.status == 400


def test_json_of_another_shape_is_refused():
    for body in (None, [], "x", {"model": "m"}, {**GOOD, "model": 3}):
        with pytest.raises(Refusal) as refusal:
            read(body)
        assert refusal.value.status == 400


def test_an_error_of_the_servers_goes_to_the_log_alone(capsys):
    refusal = bodies.logged(RuntimeError("secret"))
    assert refusal.status == 500 and "secret" not in refusal.message
    assert "RuntimeError: secret" in capsys.readouterr().err
