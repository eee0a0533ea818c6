"""`pretrain`: make a frozen model, span corruption and then prefix LM."""

import argparse

from prompt_tuning.commands import flags

SETTINGS = (
    *("MODEL_DIR", "MIXTURE_OR_TASK_NAME", "TASK_FEATURE_LENGTHS", "BATCH_SIZE"),
    *("pretrain", "inverse_square_root", "T5Config.emb_dim"),
    *("T5Config.num_encoder_layers", "T5Config.num_decoder_layers", "T5Config.dtype"),
)
EXAMPLES = r"""
# the embedded model from nothing; hours on two cores
prompt-tuning pretrain --gin_file=gin/models/pocket_nano.gin \
    --gin_file=gin/runs/pretrain.gin --gin.MODEL_DIR=runs/nano

# more LM adaptation of a model that is there
prompt-tuning pretrain --gin_file=gin/runs/pretrain.gin \
    --gin.pretrain.initial=pocket_nano --gin.pretrain.kept="()" \
    --gin.pretrain.span_corruption_steps=0 --gin.pretrain.prefix_lm_steps=1000 \
    --gin.MODEL_DIR=runs/adapted

# a model of your own text
prompt-tuning pretrain --gin_file=gin/models/pocket_english.gin \
    --gin_file=gin/runs/pretrain_english.gin --gin.pretrain.corpus="texts/*.txt" \
    --gin.VOCABULARY=spiece.model --gin.MODEL_DIR=runs/english
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for hosts."""
    flags.add_hosts(parser)


def run(args: argparse.Namespace) -> None:
    """Pre-trains a model, or resumes."""
    flags.greet("pretrain", args)

    from prompt_tuning import outputs
    from prompt_tuning.commands import common
    from prompt_tuning.runs import pretrain

    settings = common.settings(args)
    with outputs.without_reader():
        common.start(args)
        pretrain.pretrain(settings)
