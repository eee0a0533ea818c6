"""The shape of errors, and what they say of a wrong field."""

import pydantic
import pytest

from prompt_tuning.serving import refusals, shapes
from prompt_tuning.serving.refusals import Refusal


def of(body, kind=shapes.Completion):
    with pytest.raises(pydantic.ValidationError) as error:
        kind.model_validate(body)
    return refusals.invalid(error.value.errors())


def test_a_refusal_is_openais_error():
    refusal = Refusal(400, "no\nway", "n", "why")
    assert refusal.body() == {
        "error": {
            "message": "no\\nway",
            "type": "invalid_request_error",
            "param": "n",
            "code": "why",
        }
    }
    kinds = {401: "authentication_error", 404: "not_found_error", 413: "invalid"}
    kinds |= {403: "permission_error", 429: "rate_limit_error", 503: "server_error"}
    for status, kind in kinds.items():
        assert Refusal(status, "").body()["error"]["type"].startswith(kind)


@pytest.mark.parametrize(
    ("more", "param", "message"),
    [
        ({"prompt": [1]}, "prompt", "token ids are not taken"),
        ({"stop": [""]}, "stop", "1 to 4 texts"),
        ({"suffix": "x"}, "suffix", "leave it out"),
        ({"own": 1}, "own", "own: this server knows no such field"),
        ({"temperature": -1}, "temperature", "greater than or equal to 0"),
        ({"logprobs": 5}, "logprobs", "0 for the tokens written"),
    ],
)
def test_a_wrong_field_is_named(more, param, message):
    refusal = of({"model": "m", "prompt": "x"} | more)
    assert refusal.status == 400 and refusal.param == param
    assert message in refusal.message


def test_a_field_that_is_missing_and_a_body_that_is_no_object():
    assert of({"model": "m"}).message == "prompt: Field required"
    refusal = of(["model"])
    assert refusal.param is None and refusal.message.startswith("the body: ")


def test_no_such_model_tells_some_of_those_that_there_are():
    refusal = refusals.no_such_model("x" * 500, [f"p{i}" for i in range(40)])
    assert refusal.status == 404 and refusal.code == "model_not_found"
    assert "p19, ..." in refusal.message and len(refusal.message) < 400
    assert "none" in refusals.no_such_model("x", []).message


def test_busy_says_when_to_come_back():
    assert refusals.busy(3).headers == {"Retry-After": "3"}
