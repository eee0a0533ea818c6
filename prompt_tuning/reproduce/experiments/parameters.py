"""Figure 4 and Table 4: how many parameters a task needs, by method. Computed.

    prompt-tuning reproduce fig4 table4 --scale=paper

The paper gives no formulae but that of a prompt, P x E. The others are of the methods'
own papers, as they fit its Figure 4.
"""

import statistics
from collections.abc import Callable, Sequence

from prompt_tuning.errors import UserError
from prompt_tuning.reproduce import paper, sizes
from prompt_tuning.reproduce.experiment import Experiment, no_cells
from prompt_tuning.reproduce.grid import Scale
from prompt_tuning.reproduce.outcomes import Outcome, parameters
from prompt_tuning.reproduce.table import NUMBER, Axis, Measured, Place, Table
from prompt_tuning.settings import T5Config

LENGTHS = range(1, 101)  # of Figure 4
LABELS = 2  # words of a task, for WARP's output rows
BOTTLENECK = 800  # of prefix tuning's MLP (Li and Liang, 2021)
DESIGNED = range(500, 2_001)  # tokens of GPT-3's prompts, each counted as one parameter
FROZEN = "frozen model"


def prompt(config: T5Config, length: int) -> int:
    """Prompt tuning: P vectors (paper section 2)."""
    return length * config.emb_dim


def warp(config: T5Config, length: int) -> int:
    """WARP: P input vectors, and an output row for each label."""
    return (length + LABELS) * config.emb_dim


def _layers(config: T5Config) -> int:
    return config.num_encoder_layers + config.num_decoder_layers


def prefix(config: T5Config, length: int) -> int:
    """Prefix tuning as it is used: keys and values at P positions of each layer."""
    return 2 * length * _layers(config) * config.num_heads * config.head_dim


def prefix_trained(config: T5Config, length: int) -> int:
    """Prefix tuning as it is trained: P vectors, and the MLP that makes the prefix."""
    width, out = config.emb_dim, 2 * _layers(config) * config.emb_dim
    return (length + BOTTLENECK) * width + BOTTLENECK + (BOTTLENECK + 1) * out


COUNTS: dict[str, Callable[[T5Config, int], int]] = {
    paper.PREFIX_TRAIN: prefix_trained,
    paper.PREFIX: prefix,
    paper.WARP: warp,
    paper.PROMPT: prompt,
}


def shares(config: T5Config) -> dict[str, Measured]:
    """{method: its task parameters in percent of the model, over prompt lengths}."""
    frozen = parameters(config)
    found = {
        name: _over([100 * count(config, length) / frozen for length in LENGTHS])
        for name, count in COUNTS.items()
    }
    designed = _over([100 * tokens / frozen for tokens in DESIGNED])
    return {paper.MODEL: Measured(100.0, None, 1), **found, paper.DESIGN: designed}


def _over(values: Sequence[float]) -> Measured:
    return Measured(statistics.fmean(values), statistics.stdev(values), len(values))


def _configs(scale: Scale) -> dict[str, T5Config]:
    """Those of the models that are there."""
    found = {}
    for model in scale.models:
        try:
            found[model.name] = sizes.config_of(model)
        except UserError:
            continue
    return found


def _figure_4(scale: Scale, made: Sequence[Outcome]) -> Table:
    del made
    configs = _configs(scale)
    found: dict[Place, Measured] = {
        (row, column): value
        for row, config in configs.items()
        for column, value in shares(config).items()
    }
    at = {row: float(parameters(config)) for row, config in configs.items()}
    return Table(
        FIGURE_4.title,
        "Task parameters in percent of the frozen model's, mean and deviation over "
        "prompt lengths of 1 to 100; of prompt design, over 500 to 2,000 tokens, each "
        "counted as one",
        tuple(configs),
        tuple(dict.fromkeys(column for _, column in found)),
        values=found,
        axis=Axis(at, "parameters of the model", "percent", log_values=True),
        form=NUMBER,
    )


def _table_4(scale: Scale, made: Sequence[Outcome]) -> Table:
    del made
    configs, lengths = _configs(scale), paper.LENGTHS_4
    found: dict[Place, Measured] = {}
    for row, config in configs.items():
        for length in lengths:
            trained = float(prompt(config, length))
            found[row, str(length)] = Measured(trained, None, 1)
        found[row, FROZEN] = Measured(float(parameters(config)), None, 1)
    return Table(
        TABLE_4.title,
        "Parameters of a prompt by its length, and of the frozen model. The paper's "
        "number for Small at 20 is a misprint",
        tuple(configs),
        (*map(str, lengths), FROZEN),
        values=found,
        **paper.TABLE_4.beside(),
        form=NUMBER,
    )


FIGURE_4 = Experiment(
    "fig4", "Task parameters by method", "section 4, Figure 4", no_cells, _figure_4
)
TABLE_4 = Experiment(
    "table4", "Parameters of a prompt", "appendix A, Table 4", no_cells, _table_4
)
