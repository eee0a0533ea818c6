"""`train` on one's own file, in a process where TensorFlow cannot be imported."""

import json

import numpy as np
from without import without_tensorflow


def test_a_csv_is_tuned_on_evaluated_and_predicted_without_tensorflow(tmp_path):
    rows = [f"mara saw a {w},{w}" for w in ("boat", "lake") for _ in range(20)]
    (tmp_path / "own.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    told = without_tensorflow(
        tmp_path,
        *("train", "--gin.MODEL_DIR=run", "--gin.MIXTURE_OR_TASK_NAME=own.csv"),
        *("--gin.INPUTS='text: {text}'", "--gin.TARGETS={label}"),
        *("--gin.TRAIN_STEPS=2", "--gin.EVAL_PERIOD=2", "--gin.PROMPT_LENGTH=4"),
        "--gin.BATCH_SIZE=8",
    )
    assert "36 examples of own" in told and "macro_f1" in told
    prompt = np.load(tmp_path / "run/prompt.npy")
    assert prompt.shape == (4, 96)
    # What made the prompt is all in its description.
    result = json.loads(
        without_tensorflow(tmp_path, "evaluate", "--prompt=run/prompt.npy")
    )
    expected = json.loads((tmp_path / "run/metrics.json").read_text())["trained"]
    assert result["metrics"] == expected["metrics"]
    (tmp_path / "in.txt").write_text("text: mara saw a boat\n")
    labels = "--prompt=run", "--input=in.txt", "--gin.DECODING=labels"
    said = json.loads(without_tensorflow(tmp_path, "predict", *labels))
    assert said["prediction"] in ("boat", "lake")
    export = "export", "--gin.MODEL_DIR=run", "--output=p.npy"
    without_tensorflow(tmp_path, *export)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), prompt)
