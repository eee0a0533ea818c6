"""Packaging: `pip install .`, or `make run`, which does it in .venv."""

from pathlib import Path

from setuptools import setup

# The tests ran with these versions; older ones are untested.
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
    # Reads the pieces of a SentencePiece model, for `convert --format=hf`.
    "protobuf>=5",
    # Arrays outside of JAX: batches, prompt files.
    "numpy>=2.0",
    # The file format of frozen models, and optionally of prompts.
    "safetensors>=0.5",
    # Configuration files; below 0.6 because config.py reads its registry.
    "gin-config>=0.5,<0.6",
    # seqio and Orbax log through it; needed to silence them.
    "absl-py>=2.1",
    # F1 scores and CoLA's correlation.
    "scikit-learn>=1.5",
    # STS-B's correlations.
    "scipy>=1.14",
    # Word stems, to tell the lexical clusters among a prompt's neighbours; pure Python.
    "snowballstemmer>=3",
    # The shell's completion. argcomplete rather than shtab: it asks the program itself,
    # so that settings and their values come from the dataclasses and no generated
    # script goes stale; no requirements of its own, kept since 2012, in Debian too.
    "argcomplete>=3.6",
    # The progress bar.
    "tqdm>=4.66",
    # Event files for TensorBoard.
    "clu>=0.0.12",
    # Draws the learning curve.
    "matplotlib>=3.9",
    # Tasks, mixtures and their evaluation. Registered tasks need it; prompt_tuning on
    # the user's own files, and predicting, run without seqio and TensorFlow.
    "seqio>=0.0.20",
    # seqio's preprocessors are written in it.
    "tensorflow>=2.21",
    # Downloads the public datasets.
    "tensorflow-datasets>=4.9.10",
    # TFDS needs it to download on Python 3.11, but does not require it.
    "importlib_resources>=6",
]

SERVE = [
    # The server's paths and their dependencies.
    "fastapi>=0.165",
    # Speaks HTTP; pure Python with h11, which it brings, so that no compiler is needed.
    "uvicorn>=0.54",
    # GET /metrics in Prometheus' format.
    "prometheus_client>=0.26",
    # Requests' fields and what is wrong with them.
    "pydantic>=2.14",
    # Under FastAPI, whose own errors it raises for unknown paths and methods.
    "starlette>=1.10",
]

EXTRAS = {
    # The CUDA that JAX chooses, and its TPU runtime.
    "cuda": ["jax[cuda]>=0.10.2"],
    "tpu": ["jax[tpu]>=0.10.2"],
    "test": [
        "pytest>=8",
        # Runs the quick tests in two processes.
        "pytest-xdist>=3.6",
        # Unexpected texts, for the comparison with seqio's vocabularies.
        "hypothesis>=6.100",
        # The links and blocks of README and docs.
        "markdown-it-py>=4",
        # Run the notebook of examples/: its format, its cells, their Python.
        "nbformat>=5.10",
        "nbclient>=0.10",
        "ipykernel>=6.29",
        # Reads back the event files that clu writes.
        "tensorboard>=2.20",
        # The server, and two clients of it: the one that people have, and one that
        # sends what that would not.
        *SERVE,
        "openai>=3.57",
        "httpx>=0.28",
    ],
    # `prompt-tuning serve`.
    "serve": SERVE,
    "lint": [
        # One minor version, as the next may format differently.
        "ruff==0.17.*",
        # Checks types. It infers the types of libraries without any, such as Orbax and
        # seqio, where mypy assumes Any; and it includes Node, which pyright's own
        # package downloads on its first run. One version, as the next may find more.
        "basedpyright==1.40.2",
        # `make wheel`: builds the sdist, and asks whether an index would take it.
        "build>=1.6",
        "twine>=6",
    ],
    # `make docs`. Sphinx and MyST, as mkdocs has had no release for two years and
    # mkdocs-material calls itself inactive, with an end of life in 2027; the pages are
    # plain Markdown, so that they could be built by another tool again.
    "docs": [
        # 9.0 is the last that runs on Python 3.11.
        "sphinx>=9",
        # Its Markdown.
        "myst-parser>=5",
        # NumPy's and pandas' own theme, light and dark.
        "pydata-sphinx-theme>=0.24",
    ],
    # clu needs it to write event files, and the user to look at them.
    "tensorboard": ["tensorboard>=2.20"],
    # The slow comparison with Hugging Face's T5 and PEFT's prompts, on the CPU. To save
    # the CUDA libraries, install PyTorch's CPU build first, if your registry has it.
    "parity": ["torch>=2.5", "transformers>=4.50", "peft>=0.17"],
    # What T5X imports, in the versions that our tests of it ran with. T5X itself is not
    # on the package index: scripts/t5x.txt names its commits, to be installed without
    # their own requirements. pip cannot resolve those: they name the newest commits of
    # airio, Flax, seqio and others, and airio wants an older grain and another TFDS.
    "t5x": [
        "clu==0.0.12",
        "fiddle==0.3.1",
        "grain==0.2.18",
        "cached_property>=2.0",
        "tensorboard>=2.21",
    ],
}

# Named one by one: find_packages() would take tests too. gin/ and tasks/ lie beside the
# package in a checkout and inside it when installed, where no tasks.py of a user's can
# be taken for ours; in a checkout a link stands there for tasks/, and config.py looks
# for gin/.
ROOMS = ["commands", "engines", "exchange", "frozen", "frozen.formats", "methods"]
ROOMS += ["reading", "reproduce", "reproduce.experiments", "runs", "serving", "t5"]
ROOMS += ["tasks_io", "training"]
PACKAGES = ["prompt_tuning", "prompt_tuning.gin", "prompt_tuning.tasks"]
PACKAGES += ["prompt_tuning.tasks.pocket"]
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
    package_dir={"prompt_tuning.gin": "gin", "prompt_tuning.tasks": "tasks"},
    package_data={
        "prompt_tuning": ["py.typed", "pocket/**", "serving/page/*", "reproduce/*.css"],
        "prompt_tuning.gin": ["**/*.gin"],
    },
    # No experiment reads them, and the wheel stays under 60 MB.
    exclude_package_data={"prompt_tuning": ["pocket/pocket_mini_lm[15]0.*"]},
    entry_points={"console_scripts": ["prompt-tuning = prompt_tuning.cli:console"]},
)
