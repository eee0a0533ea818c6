"""Slow and idle clients, and an end that answers what was accepted."""

import json
import socket
import threading
import time

import fake_model
import httpx
import pytest

from prompt_tuning.errors import UserError
from prompt_tuning.serving import listening

BODY = json.dumps({"model": "kind", "prompt": "x"}).encode()


def request(body):
    return (
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
        b"\r\nContent-Length: %d\r\n\r\n" % len(body)
    ) + body


REQUEST = request(BODY)


@pytest.fixture(scope="module")
def address():
    with fake_model.serving(client_seconds=0.5) as found:
        yield found


def seconds_until_closed(sock):
    start = time.monotonic()
    try:
        while sock.recv(4_096):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - start


def test_a_connection_that_says_nothing_is_closed(address):
    with socket.create_connection(address, timeout=5) as sock:
        assert 0.3 < seconds_until_closed(sock) < 2


def test_headers_that_drip_in_have_one_span_for_all_of_them(address):
    with socket.create_connection(address, timeout=0.1) as sock:
        start = time.monotonic()
        with pytest.raises(OSError, match=r"reset|pipe|closed"):
            while time.monotonic() - start < 3:
                sock.sendall(b"G")
                time.sleep(0.05)
        assert 0.3 < time.monotonic() - start < 2


def test_headers_of_a_second_request_may_not_drip_in_either(address):
    with socket.create_connection(address, timeout=5) as sock:
        sock.sendall(REQUEST)
        assert b"200 OK" in sock.recv(4_096)
        sock.sendall(REQUEST[:10])
        assert 0.3 < seconds_until_closed(sock) < 2


def test_requests_may_come_in_a_row_and_pieces(address):
    with socket.create_connection(address, timeout=5) as sock:
        for _ in range(4):
            for at in range(0, len(REQUEST), 50):
                sock.sendall(REQUEST[at : at + 50])
                time.sleep(0.02)
            assert b"200 OK" in sock.recv(4_096)
            time.sleep(0.2)


def test_an_answer_that_is_not_read_is_thrown_away():
    with (
        fake_model.serving(client_seconds=0.5, most_texts=128) as address,
        socket.socket() as sock,
    ):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.connect(address)
        text = ["x" * 500] * 128
        asked = {"model": "kind", "prompt": text, "max_tokens": 128, "logprobs": 1}
        sock.sendall(request(json.dumps(asked | {"stream": True}).encode()))
        url = "http://{}:{}/metrics".format(*address)
        gone = 'requests_total{path="/v1/completions",status="499"} 1.0'
        end = time.monotonic() + 15
        while gone not in httpx.get(url).text:
            assert time.monotonic() < end
            time.sleep(0.2)


def test_headers_without_an_end_are_refused(address):
    with socket.create_connection(address, timeout=5) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)
        assert b"400" in sock.recv(4_096)


def test_what_is_no_http_is_refused(address):
    with socket.create_connection(address, timeout=5) as sock:
        sock.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert b"400 Bad Request" in sock.recv(4_096)


def test_the_end_waits_for_what_was_accepted_and_takes_nothing_new():
    model = fake_model.FakeModel(seconds=0.3)
    told = []
    with fake_model.serving(model, batch_sizes=(1,)) as (host, port):
        url = f"http://{host}:{port}/v1/completions"

        def ask():
            told.append(httpx.post(url, content=BODY, headers=JSON).status_code)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        while not model.batches:
            time.sleep(0.01)
        time.sleep(0.2)
        idle = socket.create_connection((host, port))
    for thread in threads:
        thread.join()
    idle.close()
    assert told == [200] * 4 and len(model.batches) == 4
    with pytest.raises(httpx.ConnectError):
        ask()


JSON = {"Content-Type": "application/json"}


def test_a_port_that_is_taken_is_an_error_in_plain_words():
    with listening.bound("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        assert listening.url(first) == f"http://127.0.0.1:{port}"
        with pytest.raises(UserError, match=f"port {port}: Address already in use"):
            listening.bound("127.0.0.1", port)
    with pytest.raises(UserError, match=r"cannot listen on 192\.0\.2\.1"):
        listening.bound("192.0.2.1", 0)
