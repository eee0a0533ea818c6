"""Two real processes over localhost train what one trains."""

import dataclasses
import json

import numpy as np
import pytest
import several
import tiny

from prompt_tuning.frozen import weights
from prompt_tuning.t5 import network

CONFIG = network.T5Config(
    emb_dim=16,
    num_heads=8,
    head_dim=4,
    mlp_dim=24,
    num_encoder_layers=1,
    num_decoder_layers=1,
)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "frozen.safetensors"
    params = tiny.params(network.Transformer(CONFIG))
    weights.save_frozen(path, params, CONFIG, weights.POCKET / weights.VOCABULARY)
    return path


def flags(frozen, folder, mesh, steps):
    return {
        "MODEL_DIR": folder,
        "INITIAL_CHECKPOINT_PATH": frozen,
        "TRAIN_STEPS": steps,
        "EVAL_PERIOD": 2,
        "mesh.data": mesh[0],
        "mesh.model": mesh[1],
        **{f"T5Config.{k}": v for k, v in dataclasses.asdict(CONFIG).items()},
    }


def two(frozen, folder, mesh, steps):
    devices = mesh[0] * mesh[1] // 2
    told = flags(frozen, folder, mesh, steps)
    return several.finished(several.two(devices, **told))


@pytest.fixture(scope="module")
def alone(frozen, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    told = flags(frozen, folder, (4, 2), 4)
    several.finished([several.start(8, **told)])
    return folder


def lines(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.mark.parametrize(
    ("mesh", "goes_on"),
    [
        ((8, 1), False),
        pytest.param((4, 2), True, marks=pytest.mark.slow),
        pytest.param((2, 1), False, marks=pytest.mark.slow),  # a device each
        pytest.param((1, 8), False, marks=pytest.mark.slow),  # the model spans both
    ],
)
def test_two_processes_make_the_prompt_of_one(frozen, alone, tmp_path, mesh, goes_on):
    folder = tmp_path / "run"
    if goes_on:
        two(frozen, folder, mesh, 2)
    told, silent = two(frozen, folder, mesh, 4)
    expected, got = (np.load(path / "prompt.npy") for path in (alone, folder))
    np.testing.assert_allclose(got, expected, atol=2e-3 * np.abs(expected).max())
    losses = [[x["loss"] for x in lines(p, "train.jsonl")] for p in (alone, folder)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3) and len(losses[0]) == 4
    assert [x["step"] for x in lines(folder, "eval.jsonl")] == [0, 2, 4]
    assert "trained prompt" in told and silent == "", "one host tells"
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in alone.iterdir()}
