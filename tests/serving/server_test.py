"""The server over HTTP, by OpenAI's own client and by a plain one."""

import concurrent.futures
import json
import re
import time

import fake_model
import httpx
import numpy as np
import openai
import pytest


@pytest.fixture(scope="module")
def served():
    """(a model, a plain client, OpenAI's)."""
    model = fake_model.FakeModel()
    with (
        fake_model.serving(model, longest_wait=0.02, most_texts=16) as (host, port),
        httpx.Client(base_url=f"http://{host}:{port}") as plain,
        openai.OpenAI(
            base_url=f"http://{host}:{port}/v1", api_key="none", max_retries=0
        ) as client,
    ):
        yield model, plain, client


@pytest.fixture
def plain(served):
    return served[1]


@pytest.fixture
def client(served):
    return served[2]


def refused(answer):
    """(status, the fields of the error) of an answer in OpenAI's shape."""
    assert answer.headers["content-type"] == "application/json"
    ((name, error),) = answer.json().items()
    assert name == "error" and error.keys() == {"message", "type", "param", "code"}
    return answer.status_code, error


# OpenAI's client.


def test_openais_client_completes(client):
    told = client.completions.create(model="kind", prompt="a robin")
    assert [choice.text for choice in told.choices] == ["kind: a robin"]
    assert told.choices[0].finish_reason == "stop" and told.model == "kind"
    assert (told.usage.prompt_tokens, told.usage.completion_tokens) == (8, 14)
    assert told.usage.total_tokens == 22 and told.usage.prompt_positions == 20
    assert told.object == "text_completion" and told.id.startswith("cmpl-")


def test_max_tokens_and_the_prompts_own_longest_answer(client):
    short = client.completions.create(model="kind", prompt="robin", max_tokens=6)
    assert (short.choices[0].text, short.choices[0].finish_reason) == (
        "kind: ",
        "length",
    )
    own = client.completions.create(model="mood", prompt="robin")
    assert own.usage.completion_tokens == 8


def test_texts_and_answers_are_numbered_together(client):
    asked = {"model": "kind", "prompt": ["x", "y"], "n": 2, "temperature": 1}
    told = client.completions.create(**asked, seed=3, echo=True, logprobs=0)
    assert [choice.index for choice in told.choices] == [0, 1, 2, 3]
    assert [choice.text[:8] for choice in told.choices] == ["xkind: x"] * 2 + [
        "ykind: y"
    ] * 2
    assert len({choice.text for choice in told.choices}) == 4, "each has a seed"
    offsets = told.choices[0].logprobs.text_offset
    assert offsets[0] == 1 and told.choices[0].logprobs.tokens[0] == "k"
    again = client.completions.create(**asked, seed=3, echo=True)
    assert [c.text for c in again.choices] == [c.text for c in told.choices]
    other = client.completions.create(**asked, seed=4, echo=True)
    assert {c.text for c in other.choices}.isdisjoint(c.text for c in told.choices)


def test_without_a_seed_answers_are_drawn_anew(client):
    asked = {"model": "kind", "prompt": "x", "temperature": 1}
    texts = {client.completions.create(**asked).choices[0].text for _ in range(3)}
    assert len(texts) == 3


def test_a_stream_tells_the_same_token_by_token(client):
    asked = {"model": "kind", "prompt": ["ab", "c"], "stop": "b"}
    whole = client.completions.create(**asked)
    usage = {"include_usage": True}
    chunks = list(client.completions.create(**asked, stream=True, stream_options=usage))
    texts, reasons = ["", ""], ["", ""]
    for chunk in chunks[:-1]:
        assert chunk.usage is None
        (choice,) = chunk.choices
        texts[choice.index] += choice.text
        reasons[choice.index] = choice.finish_reason
    assert texts == [choice.text for choice in whole.choices] == ["kind: a", "kind: c"]
    assert reasons == ["stop", "stop"]
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


def test_openais_client_lists_models(client):
    models = client.models.list().data
    assert [model.id for model in models] == ["kind", "mood"]
    one = client.models.retrieve("mood")
    assert one.object == "model" and one.parent == "frozen"
    assert one.prompt["label_words"] == ["glad", "sad"] and one.prompt["length"] == 5


def test_openais_client_raises_its_own_errors(client):
    with pytest.raises(openai.NotFoundError, match="kind, mood") as gone:
        client.completions.create(model="no", prompt="x")
    assert (gone.value.code, gone.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no/such")
    with pytest.raises(openai.BadRequestError, match="n is 2") as wrong:
        client.completions.create(model="kind", prompt="x", n=2)
    assert (wrong.value.param, wrong.value.type) == ("n", "invalid_request_error")


# Batches, and a model that fails.


def test_requests_of_different_prompts_share_a_batch(served):
    model, _, client = served
    model.seconds = 0.05
    try:
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            names = ["kind", "mood"] * 6
            texts = [f"t{i}" for i in range(12)]
            asked = [
                pool.submit(client.completions.create, model=name, prompt=text)
                for name, text in zip(names, texts, strict=True)
            ]
            told = [one.result().choices[0].text for one in asked]
    finally:
        model.seconds = 0
    expected = [f"{n}: {t}" for n, t in zip(names, texts, strict=True)]
    assert told == [e[:8] if e.startswith("mood") else e for e in expected]
    assert any({*batch} == {"kind", "mood"} for batch in model.batches)


def test_what_the_model_refuses_is_the_clients_fault_and_a_crash_the_servers(
    plain, capfd
):
    asked = {"model": "kind", "prompt": ["fine", "refuse"]}
    assert refused(plain.post("/v1/completions", json=asked))[0] == 400
    asked["prompt"] = "crash"
    status, error = refused(plain.post("/v1/completions", json=asked))
    assert status == 500 and "planted" not in error["message"]
    assert "RuntimeError: planted" in capfd.readouterr().err
    assert plain.post("/v1/completions", json=asked | {"prompt": "x"}).is_success


@pytest.mark.parametrize(("text", "kind"), [("crash", "server"), ("refuse", "invalid")])
def test_a_failure_in_a_stream_is_an_event(plain, capfd, text, kind):
    asked = {"model": "kind", "prompt": text, "stream": True}
    events = plain.post("/v1/completions", json=asked).text.split("\n\n")
    error = json.loads(events[0].removeprefix("data: "))["error"]
    assert error["type"].startswith(kind) and events[1:] == ["data: [DONE]", ""]


# Classification.


def test_classify_gives_the_probabilities_of_the_prompts_labels(served):
    model, plain, _ = served
    asked = {"model": "mood", "input": ["one", "two"]}
    told = plain.post("/v1/classify", json=asked).json()
    scores = model.score(["one", "two"], [("glad", "sad")] * 2, ["mood"] * 2)
    for index, one in enumerate(told["data"]):
        odds = np.exp(scores[index] - scores[index].max())
        np.testing.assert_allclose(one["probs"], odds / odds.sum(), rtol=1e-6)
        assert one["label"] == one["labels"][np.argmax(scores[index])]
        assert one["index"] == index and one["num_classes"] == 2
    assert told["usage"]["prompt_tokens"] == 8
    assert told["usage"]["prompt_positions"] == 10


def test_classify_takes_labels_of_the_clients(plain):
    asked = {"model": "kind", "input": "x", "labels": ["a", "b", "c"]}
    told = plain.post("/v1/classify", json=asked).json()
    assert told["data"][0]["labels"] == ["a", "b", "c"]
    status, error = refused(
        plain.post("/v1/classify", json={"model": "kind", "input": "x"})
    )
    assert (status, error["param"]) == (400, "labels")


def test_labels_of_different_numbers_share_a_batch(plain):
    bodies = [
        {"model": "mood", "input": "x"},
        {"model": "kind", "input": "x", "labels": ["a", "b", "c", "d"]},
    ]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        told = pool.map(lambda body: plain.post("/v1/classify", json=body), bodies)
    assert [len(one.json()["data"][0]["probs"]) for one in told] == [2, 4]


# Limits.


@pytest.mark.parametrize(
    ("more", "status", "word"),
    [
        ({"prompt": "x" * 20_001}, 400, "20,001 characters"),
        ({"prompt": "x" * 512}, 400, "513 tokens"),
        ({"model": "mood", "prompt": "x" * 40}, 400, "41 tokens"),
        ({"prompt": ["x"] * 17}, 400, "17 texts"),
        ({"prompt": ["x"] * 9, "n": 2, "temperature": 1}, 400, "2 answers each"),
        ({"max_tokens": 129}, 400, "128 at most"),
        ({"prompt": "x" * 2**20}, 413, "1,048,576 bytes"),
    ],
)
def test_what_is_too_large_is_refused(plain, more, status, word):
    asked = {"model": "kind", "prompt": "x"} | more
    found, error = refused(plain.post("/v1/completions", json=asked))
    assert found == status and word in error["message"]


def test_what_just_fits_is_answered(plain):
    for model, size in (("kind", 511), ("mood", 39)):
        asked = {"model": model, "prompt": ["x" * size] * 16}
        assert plain.post("/v1/completions", json=asked).is_success


def test_a_full_queue_is_told_with_the_seconds_to_wait():
    model = fake_model.FakeModel(seconds=0.5)
    limits = {"batch_sizes": (1,), "most_waiting": 2, "most_texts": 2}
    with fake_model.serving(model, **limits) as (host, port):
        url = f"http://{host}:{port}/v1/completions"
        asked = {"model": "kind", "prompt": "x"}
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            told = [*pool.map(lambda _: httpx.post(url, json=asked), range(8))]
    refusals = [answer for answer in told if answer.status_code == 429]
    assert 2 <= len(told) - len(refusals) <= 4 and refusals
    for answer in refusals:
        assert refused(answer)[1]["code"] == "queue_full"
        assert re.fullmatch("[1-9]", answer.headers["retry-after"])


# Loading.


def test_loading_is_off_unless_a_folder_was_given(plain):
    for what in ("load", "unload"):
        answer = plain.post(f"/v1/{what}_prompt_adapter", json={})
        assert refused(answer)[0] == 404


def test_prompts_are_loaded_and_unloaded_below_the_folder(tmp_path):
    inside, model = tmp_path / "inside", fake_model.FakeModel()
    (inside / "run").mkdir(parents=True)
    (inside / "bad.npy").touch()
    with (
        fake_model.serving(model, folder=inside) as (host, port),
        httpx.Client(base_url=f"http://{host}:{port}/v1") as client,
    ):

        def load(name, path):
            asked = {"prompt_adapter_name": name, "prompt_adapter_path": str(path)}
            return client.post("/load_prompt_adapter", json=asked)

        def unload(name):
            return client.post(
                "/unload_prompt_adapter", json={"prompt_adapter_name": name}
            )

        assert load("new", "run").json()["model"]["id"] == "new"
        asked = {"model": "new", "prompt": "x"}
        assert client.post("/completions", json=asked).is_success
        assert refused(load("new", "run"))[0] == 400, "it is there already"
        assert load("full", inside / "run").is_success, "absolute, but inside"
        assert refused(load("other", tmp_path))[0] == 403
        assert refused(load("other", "../inside/../.."))[0] == 403
        assert refused(load("other", "bad.npy")) == (
            400,
            {
                "message": f"no prompt file at {inside / 'bad.npy'}",
                "type": "invalid_request_error",
                "param": "prompt_adapter_path",
                "code": None,
            },
        )
        assert refused(load("a b", "run"))[0] == 400, "no name"
        assert unload("new").is_success
        assert refused(unload("new"))[0] == 404
        assert refused(client.post("/completions", json=asked))[0] == 404
        assert model.names == ("full", "kind", "mood")


def test_what_waits_for_a_prompt_is_answered_before_it_is_unloaded(tmp_path):
    model = fake_model.FakeModel(seconds=1)
    with fake_model.serving(model, folder=tmp_path, batch_sizes=(1,)) as (host, port):
        server = f"http://{host}:{port}"
        url, asked = f"{server}/v1", {"model": "kind", "prompt": "x"}
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            waiting = [
                pool.submit(httpx.post, f"{url}/completions", json=asked)
                for _ in range(3)
            ]
            # One is being answered, and the two others have come.
            while "queue_rows 2.0" not in httpx.get(f"{server}/metrics").text:
                time.sleep(0.02)
            name = {"prompt_adapter_name": "kind"}
            gone = httpx.post(f"{url}/unload_prompt_adapter", json=name, timeout=20)
            assert gone.is_success
            assert all(one.result().is_success for one in waiting)
        assert httpx.post(f"{url}/completions", json=asked).status_code == 404


# What else there is.


def test_health_the_page_and_its_files(plain):
    assert plain.get("/health").json() == {"status": "ok"}
    page = plain.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    needed = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sorted(needed) == ["data:,", "page.css", "page.js"], "nothing from elsewhere"
    for name in ("page.css", "page.js"):
        text = plain.get(f"/{name}").text
        assert text and "://" not in text and "innerHTML" not in text


def test_unknown_paths_and_methods_are_refused_in_openais_shape(plain):
    assert refused(plain.get("/docs"))[0] == 404, "it would load scripts from elsewhere"
    assert refused(plain.get("/openapi.json"))[0] == 404
    assert refused(plain.get("/../../etc/passwd"))[0] == 404
    assert refused(plain.get("/v1/completions"))[0] == 405
    assert refused(plain.post("/health"))[0] == 405


def test_metrics_count_what_was_asked(plain):
    plain.get("/nowhere/at/all")
    plain.post("/v1/completions", json={"model": "kind", "prompt": "x"})
    text = plain.get("/metrics").text
    names = 'prompt_tuning_requests_total{path="/v1/completions",status="200"}'
    assert float(re.findall(re.escape(names) + " (.*)", text)[0]) >= 1
    assert 'path="other",status="404"' in text and "nowhere" not in text
    assert 'prompt_tuning_rows_total{kind="generate",prompt="kind"}' in text
    assert "prompt_tuning_prompts 2.0" in text
    assert "process_resident_memory_bytes" in text
