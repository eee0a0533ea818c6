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
