"""`serve` as a process: it answers as the library does, and ends when it is told."""

import os
import re
import signal
import socket
import subprocess
import sys

import httpx
import numpy as np
import pytest
from source import ROOT

import prompt_tuning
from prompt_tuning import cli
from prompt_tuning.commands import serve

TEXTS = ["a robin", "where is the hammer?", "one two three " * 20]


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    """Two files of prompts for pocket_nano, of different lengths."""
    folder = tmp_path_factory.mktemp("prompts")
    rng = np.random.default_rng(0)
    for name, length in (("one", 4), ("two", 9)):
        values = rng.normal(size=(length, 96)).astype(np.float32)
        np.save(folder / f"{name}.npy", values)
    return folder


def process(prompts, *flags):
    """A server of the two prompts, which shares what XLA compiles with the tests."""
    command = [sys.executable, "-m", "prompt_tuning", "serve", "--port=0", *flags]
    named = [f"{name}={prompts / name}.npy" for name in ("one", "two")]
    return subprocess.Popen(
        [*command, "--gin.BATCH_SIZE=8", "--most_tokens=8", "--prompts", *named],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), serve.KEY: "sesame"},
    )


@pytest.mark.slow  # it compiles for half a minute
def test_it_answers_as_the_library_does_and_ends_when_told(prompts):
    model = prompt_tuning.load("pocket_nano")
    for name in ("one", "two"):
        model.add(name, prompts / f"{name}.npy")
    names = ["one", "two", "one"]
    offline = [a.text for (a,) in model.generate(TEXTS, names, most=8)]
    scores = model.score(TEXTS, ["yes", "no"], names)
    server = process(prompts, "--load_from", str(prompts))
    try:
        line = server.stdout.readline()
        url = re.search(r"^serving 2 prompts at (http://127.0.0.1:\d+)$", line)[1]
        key = {"Authorization": "Bearer sesame"}
        with httpx.Client(base_url=f"{url}/v1", headers=key, timeout=60) as client:
            for name, text, answer, own in zip(
                names, TEXTS, offline, scores, strict=True
            ):
                asked = {"model": name, "prompt": text, "max_tokens": 8}
                told = client.post("/completions", json=asked).json()
                assert told["choices"][0]["text"] == answer
                asked = {"model": name, "input": text, "labels": ["yes", "no"]}
                told = client.post("/classify", json=asked).json()
                np.testing.assert_allclose(
                    told["data"][0]["logprobs"], own, rtol=1e-4, atol=1e-4
                )
            asked = {"prompt_adapter_name": "again", "prompt_adapter_path": "one.npy"}
            assert client.post("/load_prompt_adapter", json=asked).is_success
            ids = [one["id"] for one in client.get("/models").json()["data"]]
            assert ids == ["again", "one", "two"]
        assert httpx.get(f"{url}/v1/models").status_code == 401
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        assert server.stdout.read().startswith("stopped")
    finally:
        server.kill()
        server.wait()


def fails(capsys, *flags):
    """What `serve` says on stderr, in one line."""
    assert cli.main(["serve", *map(str, flags)]) == 2
    line = capsys.readouterr().err
    assert line.startswith("prompt-tuning: error: ") and line.count("\n") == 1
    return line


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "there is nothing to serve"),
        (["--prompts", "a=b", "--port=70000"], "--port is 70000"),
        (["--prompts", "a=b", "--most_texts=0"], "--most_texts is 0"),
        (["--prompts", "a=b", "--client_seconds=nan"], "--client_seconds is nan"),
        (["--prompts", "a=b", "--most_texts=2000"], "would always be refused"),
        (["--load_from=no_such"], "--load_from is 'no_such'"),
        (["--prompts", "a=b", "--load_from="], "--load_from is ''"),
        (["--prompts", "a=b", "--api_key_file="], "API key in '' cannot be read"),
        (["--prompts", "a=b", "--gin.DECODING=labels"], "ask /v1/classify"),
        (["--prompts", "a=b", "--api_key="], "the API key is empty"),
        (["--prompts", "a=b", "--api_key=é"], "beyond ASCII"),
        (["--prompts", "a=b", "--api_key=x", "--api_key_file=y"], "both given"),
        (["--prompts", "a=b", "--api_key_file=no_such"], "cannot be read"),
        (["--prompts", "a=no_such.npy", "--port=0"], "no prompt file at no_such.npy"),
    ],
)
def test_a_mistake_is_one_plain_line(capsys, flags, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, *flags)


def test_a_port_that_is_taken_shows_before_anything_is_loaded(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = fails(capsys, "--prompts", "a=no_such", f"--port={port}")
    assert f"port {port}: Address already in use" in line


def test_without_the_extra_it_says_what_to_install(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("prompt_tuning.serv")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    line = fails(capsys, "--prompts", "a=b")
    assert "needs uvicorn" in line and ".[serve]" in line


def test_the_key_is_from_a_flag_a_file_or_the_environment(
    tmp_path, monkeypatch, capsys
):
    def key(**given):
        names = {"api_key": None, "api_key_file": None, "host": "127.0.0.1"}
        return serve.api_key(serve.argparse.Namespace(**{**names, **given}))

    monkeypatch.delenv(serve.KEY, raising=False)
    (tmp_path / "key").write_text("from-file\n")
    assert key() is None
    assert key(api_key="from-flag") == "from-flag"
    assert key(api_key_file=tmp_path / "key") == "from-file"
    monkeypatch.setenv(serve.KEY, "from-environment")
    assert key() == "from-environment"
    assert key(api_key="from-flag") == "from-flag"
    assert not capsys.readouterr().err
    monkeypatch.delenv(serve.KEY)
    assert key(host="0.0.0.0") is None
    assert "whoever reaches 0.0.0.0 is answered" in capsys.readouterr().err
