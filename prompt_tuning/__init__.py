"""Prompt tuning of a frozen T5, after Lester, Al-Rfou and Constant (EMNLP 2021)."""

__version__ = "0.1.0"


def load(name, **settings):
    """A frozen model that answers with many prompts: a `serving.model.Model`.

    >>> import numpy, prompt_tuning
    >>> model = prompt_tuning.load("pocket_nano")
    >>> prompts = numpy.random.default_rng(0).normal(size=(2, 20, 96))
    >>> numpy.save("first.npy", prompts[0])
    >>> numpy.save("second.npy", prompts[1, :5])  # another length, another place
    >>> model.add("first", "first.npy")  # or a run's folder, or one of PEFT's
    >>> model.add("second", "second.npy", place="suffix", label_words=["yes", "no"])
    >>> texts = ["is a robin a bird?", "is a hammer a bird?"]
    >>> len(model.predict(texts, prompts=["first", "second"]))
    2
    >>> model.score(texts, labels=["yes", "no"], prompts="second").shape
    (2, 2)
    >>> [answer] = model.generate(texts[:1], "first", most=4)[0]
    >>> answer.finish, len(answer.tokens), answer.prompt_positions
    ('length', 4, 20)
    >>> model.remove("first")
    >>> model.names
    ('second',)

    Args:
      name: a folder, a file, or a model in the package.
      settings: gin's names as keywords, such as VOCABULARY="spiece.model",
        BATCH_SIZE=8 or **{"T5Config.param_dtype": "int8"}.

    Raises:
      UserError: there is no such model, or a setting is none.
    """
    from prompt_tuning.serving import model  # imports JAX

    return model.load(name, **settings)


def train(*gin_files, **settings):
    """Tunes a prompt (or the model) and evaluates it, as `prompt-tuning train` does.

    It goes on with a run that was stopped; of a finished one it reads the results.

        run = prompt_tuning.train(MODEL_DIR="runs/mine", PROMPT_LENGTH=20,
                                  TRAIN_STEPS=400, EVAL_PERIOD=100)
        run.score, run.scores, run.losses, run.folder

    Args:
      gin_files: files of settings, such as "gin/runs/prompt_tune.gin".
      settings: gin's names as keywords, as `load` takes them; MODEL_DIR is the run's
        folder.

    Returns:
      A `runs.results.Result`: the folder, the best step and its score and metrics (in
      percent), the scores and the losses by step.

    Raises:
      UserError: a setting is none, or does not fit the data or the model.
    """
    from prompt_tuning.runs import api  # imports JAX

    return api.train(gin_files, settings)


def sweep(values, *gin_files, **settings):
    """Tunes a prompt for each combination of values, as `train --sweep` does.

    Prompts that differ only in SEED, in how they start and in their optimizer are tuned
    together, in one compiled step.

        runs = prompt_tuning.sweep({"SEED": range(3)}, MODEL_DIR="runs/seeds")

    Args:
      values: {setting: its values}.
      gin_files, settings: of all runs, as `train` takes them; each run has a folder of
        its own in MODEL_DIR.

    Returns:
      A `runs.results.Result` for each combination; the last setting changes fastest.

    Raises:
      UserError: as `train` does; or a run failed.
    """
    from prompt_tuning.runs import api  # imports JAX

    return api.sweep(values, gin_files, settings)
