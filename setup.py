"""Packaging: `pip install .`, or `make run` to have it done in .venv."""

from pathlib import Path

from setuptools import setup

# The versions are those the tests ran with; older ones are untried.
INSTALL = [
    # The array library everything runs on.
    "jax>=0.10.2",
    # flax.linen: modules whose parameters name their logical axes.
    "flax>=0.12.8",
    # Adafactor and the learning-rate schedules.
    "optax>=0.2.8",
    # Saves and restores the training state.
    "orbax-checkpoint>=0.12.8",
    # Reads the arrays of T5X checkpoints, here and in buckets.
    "tensorstore>=0.1.84",
    # Reads the index of those arrays.
    "msgpack>=1.1",
    # Orbax's own path type, for folders on any file system.
    "etils[epath]>=1.15",
    # Text to token ids and back.
    "sentencepiece>=0.2",
    # Arrays outside of JAX: batches, prompt files.
    "numpy>=2.0",
    # The frozen models' file format, and one of a prompt's.
    "safetensors>=0.5",
    # Configuration files; below 0.6 because config.py reads its registry.
    "gin-config>=0.5,<0.6",
    # What seqio and Orbax log through: to quieten them.
    "absl-py>=2.1",
    # F1 scores and CoLA's correlation.
    "scikit-learn>=1.5",
    # STS-B's correlations.
    "scipy>=1.14",
    # The progress bar.
    "tqdm>=4.66",
    # The picture of the learning curve.
    "matplotlib>=3.9",
    # Tasks, mixtures and their evaluation. `train` and `evaluate` need it, the core
    # does not: without seqio and TensorFlow prompt_tuning.train still runs.
    "seqio>=0.0.20",
    # What seqio's preprocessors are written in.
    "tensorflow>=2.21",
    # Downloads the public datasets.
    "tensorflow-datasets>=4.9.10",
    # What TFDS needs to download on Python 3.11, and does not ask for.
    "importlib_resources>=6",
]

EXTRAS = {
    # JAX's own choice of CUDA, and its TPU runtime.
    "cuda": ["jax[cuda]>=0.10.2"],
    "tpu": ["jax[tpu]>=0.10.2"],
    "test": [
        "pytest>=8",
        # Two processes for the quick suite.
        "pytest-xdist>=3.6",
        # Texts that nobody thinks of, for the comparison with seqio's vocabularies.
        "hypothesis>=6.100",
    ],
    "lint": [
        # One minor version, as the next one formats differently.
        "ruff==0.17.*",
        # Types. It reads libraries that come without types, such as Orbax and seqio,
        # where mypy takes all that they return for Any; and it brings its Node, which
        # pyright's own package downloads at its first run. One version, as the next one
        # may find more.
        "basedpyright==1.40.2",
    ],
    # The slow comparison with Hugging Face's T5 and PEFT's prompts, on the CPU. To save
    # the CUDA libraries install PyTorch's CPU build first, where your registry has it.
    "parity": ["torch>=2.5", "transformers>=4.50", "peft>=0.17"],
    # What T5X imports, at the versions its tests here ran with. T5X itself is not on
    # the package index: scripts/t5x.txt names its commits, to be installed without
    # their own requirements. pip cannot resolve those, which name the newest commits
    # of airio, Flax, seqio and others, and airio's an older grain and another TFDS.
    "t5x": [
        "clu==0.0.12",
        "fiddle==0.3.1",
        "grain==0.2.18",
        "cached_property>=2.0",
        "tensorboard>=2.21",
    ],
}

# Named one by one: find_packages() would take tests too. gin/ lies beside the
# package in a checkout and inside it when installed (prompt_tuning/config.py).
ROOMS = ["commands", "engines", "frozen", "frozen.formats", "methods", "runs"]
ROOMS += ["serving", "t5", "tasks_io", "training"]
PACKAGES = ["prompt_tuning", "prompt_tuning.gin", "tasks"]
PACKAGES += [f"prompt_tuning.{room}" for room in ROOMS]

setup(
    name="prompt-tuning",
    version="0.1.0",
    description="Prompt tuning of a frozen T5: JAX, Flax, seqio",
    long_description=Path(__file__).with_name("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    install_requires=INSTALL,
    extras_require=EXTRAS,
    packages=PACKAGES,
    package_dir={"prompt_tuning.gin": "gin"},
    package_data={
        "prompt_tuning": ["py.typed", "pocket/*"],
        "prompt_tuning.gin": ["**/*.gin"],
    },
    entry_points={"console_scripts": ["prompt-tuning = prompt_tuning.cli:main"]},
)
