"""Eight virtual CPU devices and strict shapes, set before anything imports JAX."""

import os
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    # Compiling is most of the tests' time, and fusing most of compiling.
    + " --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
)
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # TensorFlow's start-up lines

import jax
import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real files beside the checkout; tests that need it skip without."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("there is no ../shared beside this checkout")
    return folder


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """Caches what XLA compiles, as most runs in a module have the same shapes."""
    folder = tmp_path_factory.getbasetemp() / "compiled"
    options = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


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
