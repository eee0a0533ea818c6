"""The key, bodies without an end, clients that go or take their time."""

import json
import socket
import time

import fake_model
import httpx
import pytest


@pytest.fixture(scope="module")
def address():
    with fake_model.serving(
        most_bytes=5_000, client_seconds=0.5, api_key="sesame"
    ) as found:
        yield found


@pytest.fixture
def connection(address):
    with socket.create_connection(address, timeout=5) as sock:
        yield sock


def head(length, path="/v1/completions", key="sesame", more=""):
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
    ).encode()


BODY = json.dumps({"model": "kind", "prompt": "x"}).encode()


def status(sock):
    """The status of the next answer, and its JSON."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(4_096)
    top, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in top.split(b"\r\n")[1:])
    while len(body) < int(fields[b"content-length"]):
        body += sock.recv(4_096)
    return int(top.split()[1]), json.loads(body)


def ended(sock):
    """Whether the server has closed the connection, after what it sent."""
    try:
        while sock.recv(4_096):
            pass
    except ConnectionResetError:
        return True
    return True


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/nowhere", "/docs"])
def test_without_the_key_nothing_is_told(address, path):
    url = "http://{}:{}".format(*address) + path
    given = [None, "Bearer", "Bearer sesam", "Bearer sesame2", "Basic sesame", "sesame"]
    for value in given:
        answer = httpx.get(url, headers={"Authorization": value} if value else {})
        assert answer.status_code == 401, value
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert "sesame" not in answer.text


def test_health_and_the_page_need_no_key_and_the_rest_takes_it(address):
    with httpx.Client(base_url="http://{}:{}".format(*address)) as client:
        for path in ("/", "/page.js", "/page.css", "/health"):
            assert client.get(path).is_success
        key = {"Authorization": "bearer sesame"}
        assert client.get("/v1/models", headers=key).is_success


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(connection):
    connection.sendall(head(5_001, more="Expect: 100-continue\r\n"))
    code, told = status(connection)
    assert code == 413 and "5,000 bytes" in told["error"]["message"]


def test_a_body_that_grows_too_large_is_refused(connection):
    start = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    connection.sendall(start)
    for _ in range(6):
        connection.sendall(b"3e8\r\n" + b"[" * 1_000 + b"\r\n")
    assert status(connection)[0] == 413


def test_after_a_refusal_the_connection_goes_on(connection):
    connection.sendall(head(6_000) + b"x" * 6_000)
    assert status(connection)[0] == 413
    connection.sendall(head(len(BODY), key="wrong") + BODY)
    assert status(connection)[0] == 401
    connection.sendall(head(len(BODY)) + BODY)
    assert status(connection)[0] == 200


def test_a_body_that_drips_in_is_cut_off_with_a_reason(connection):
    connection.sendall(head(1_000))
    start = time.monotonic()
    connection.settimeout(0.1)
    for _ in range(20):
        try:
            connection.sendall(b" ")
            code, told = status(connection)
            break
        except TimeoutError:
            continue
    assert code == 408 and "0.5 s" in told["error"]["message"]
    assert 0.4 < time.monotonic() - start < 2
    connection.settimeout(5)
    assert ended(connection)


def test_what_a_gone_client_asked_is_not_computed():
    model = fake_model.FakeModel(seconds=0.4)
    with fake_model.serving(model, batch_sizes=(1,)) as address:
        first, gone = (socket.create_connection(address) for _ in range(2))
        first.sendall(head(len(BODY)) + BODY)
        while not model.batches:
            time.sleep(0.01)
        gone.sendall(head(len(BODY)) + BODY)
        time.sleep(0.1)
        gone.close()
        assert status(first)[0] == 200
        first.sendall(head(len(BODY)) + BODY)
        assert status(first)[0] == 200
        first.close()
        text = httpx.get("http://{}:{}/metrics".format(*address)).text
        assert 'requests_total{path="/v1/completions",status="499"} 1.0' in text
    assert len(model.batches) == 2


def test_every_answer_keeps_a_browser_at_home(address):
    url = "http://{}:{}".format(*address)
    for answer in (
        httpx.get(url),
        httpx.get(f"{url}/v1/models"),
        httpx.get(f"{url}/x"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers
