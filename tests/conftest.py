"""Eight virtual CPU devices and strict shapes, set before anything imports JAX."""

import os
import tempfile
from pathlib import Path

import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    # Compiling is most of the tests' time, and fusing most of compiling.
    + " --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
)
# Most runs have the same shapes: what one process compiled, the others and what they
# start need not. JAX looks for the cache once, when it first compiles.
_COMPILED = tempfile.TemporaryDirectory(prefix="compiled-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _COMPILED.name)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # TensorFlow's start-up lines


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real files beside the checkout; tests that need it skip without."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("there is no ../shared beside this checkout")
    return folder


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """The file of a small frozen model with random weights."""
    import small  # imports TensorFlow, which most tests do not need

    folder = tmp_path_factory.mktemp("model")
    return small.save_frozen(folder / "frozen.safetensors")


@pytest.fixture(scope="module")
def run(tmp_path_factory, frozen):
    """The folder of a run of 8 steps, evaluated at 0, 4 and 8; only to be read."""
    import small

    return small.trained(tmp_path_factory.mktemp("run"), frozen)
