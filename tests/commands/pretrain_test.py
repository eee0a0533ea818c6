"""`pretrain` on a text file, in a process where TensorFlow cannot be imported."""

from safetensors.numpy import load_file
from without import without_tensorflow


def test_a_text_file_makes_a_frozen_model_without_tensorflow(tmp_path):
    lines = (f"the cat number {number} sat on the mat" for number in range(60))
    (tmp_path / "own.txt").write_text("\n".join(lines))
    sizes = {"emb_dim": 16, "num_heads": 2, "head_dim": 8, "mlp_dim": 24}
    told = without_tensorflow(
        tmp_path,
        *("pretrain", "--gin.MODEL_DIR=run", "--gin.MIXTURE_OR_TASK_NAME=own.txt"),
        *(f"--gin.T5Config.{name}={size}" for name, size in sizes.items()),
        *("--gin.pretrain.span_corruption_steps=2", "--gin.pretrain.prefix_lm_steps=2"),
        "--gin.BATCH_SIZE=8",
    )
    assert "frozen model: run/frozen.safetensors" in told
    tensors = load_file(tmp_path / "run/frozen.safetensors")
    assert tensors["token_embedder/embedding"].shape == (2_816, 16)
