"""The scales: pocket runs on two cores, paper is the paper's, english lies between.

    prompt-tuning reproduce fig3a --scale=pocket

They are values; a model, a task or a number of steps is changed here and nowhere else.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from prompt_tuning.reproduce.grid import Model, Scale, Tasks, Transfer

# T5's own settings of fine-tuning (paper section 3.1): relative updates, no decay.
_WHOLE = {
    "METHOD": "whole",
    "adafactor.parameter_scaling": True,
    "adafactor.weight_decay": 0.0,
}

# The paper does not say which words a prompt for SQuAD starts from.
_NO_WORDS = {"PROMPT_INIT": "sampled_vocab"}


def _designed(
    instructions: Mapping[str, str], free: Iterable[str]
) -> dict[str, Mapping[str, Any]]:
    """Prompt design of tasks. Those in `free` have no label words to score."""
    return {
        task: {
            "METHOD": "prompt_design",
            "prompt_design.instruction": text,
            "DECODING": "greedy" if task in free else "labels",
        }
        for task, text in instructions.items()
    }


# pocket: the embedded family


def _embedded(name: str, percents: Iterable[int] = (0, 10, 50)) -> Model:
    """A model in the package, also kept after these percents of LM adaptation."""
    stages = {percent: f"{name}_lm{percent}" for percent in percents} | {100: name}
    return Model(name, {"INITIAL_CHECKPOINT_PATH": name}, stages)


def _names(names: Mapping[str, str], form: str) -> dict[str, str]:
    return {name: form.format(task) for name, task in names.items()}


_POCKET_SUITE = {
    "kind": "pocket_kind",
    "mood": "pocket_mood",
    "CB": "pocket_cb",
    "WSC": "pocket_wsc",
}
_POCKET_DESIGNED = {
    "pocket_kind": "what kind of thing is it?",
    "pocket_mood": "how did they feel?",
    "pocket_cb": "entailment, contradiction or neutral?",
    "pocket_wsc": "who is meant?",
}
_POCKET_DESCRIBED = {
    "BoolQ": "pocket_boolq",
    "CB": "pocket_cb",
    "COPA": "pocket_copa",
    "MultiRC": "pocket_multirc",
    "ReCoRD": "pocket_record",
    "RTE": "pocket_rte",
    "WiC": "pocket_wic",
    "WSC": "pocket_wsc",
    "MRPC": "pocket_mrpc",
    "QQP": "pocket_qqp",
    "SQuAD": "pocket_squad",
}

POCKET = Scale(
    name="pocket",
    # Not pocket_mini: its cells would take longer than all of these together.
    models=tuple(map(_embedded, ("pocket_pico", "pocket_nano", "pocket_micro"))),
    tasks=Tasks(
        suite=_POCKET_SUITE,
        sentinel=_names(_POCKET_SUITE, "{}_sentinel"),
        named=_names(_POCKET_SUITE, "{}_named"),
        mixture="pocket_suite",
        question="pocket_squad",
        domains={
            "letters": "pocket_letters",
            "ships": "pocket_ships",
            "bills": "pocket_bills",
        },
        paraphrases=(
            Transfer("QQP", "MRPC", "pocket_qqp", "pocket_mrpc_from_qqp"),
            Transfer("MRPC", "QQP", "pocket_mrpc", "pocket_qqp_from_mrpc"),
        ),
        timed="pocket_kind",
        described=_POCKET_DESCRIBED,
        source="pocket_mrpc",
        own={"pocket_squad": _NO_WORDS},
        designed=_designed(_POCKET_DESIGNED, free=["pocket_wsc"]),
        compared=("pocket_kind",),  # another takes as long again
    ),
    settings={
        "PROMPT_LENGTH": 20,
        "TRAIN_STEPS": 400,
        "EVAL_PERIOD": 50,
        "T5Config.dtype": "auto",
    },
    # After 400 steps pocket_micro is not done with pocket_cb: 60 on development, and 93
    # after 1,600. A rate of 0.003 is as good; dropout is worse.
    whole={
        **_WHOLE,
        "schedule.learning_rate": 0.01,
        "TRAIN_STEPS": 1_600,
        "EVAL_PERIOD": 100,
    },
    mixed={},
    seeds=(0, 1, 2),
    longer=1_600,
)

# paper: T5 1.1 from Small to XXL, on SuperGLUE

_BUCKET = "gs://t5-data/pretrained_models/t5x"
# The paper's chips: 4 of TPU v2, and for Large and more 16 of TPU v3; two cores each,
# over which `mesh.model` splits the weights.
_SPLIT = {"Small": 1, "Base": 1, "Large": 1, "XL": 4, "XXL": 8}


def _t5(name: str) -> Model:
    size = name.lower()
    kept = {
        "gin_file": (f"gin/models/{size}.gin", "gin/runs/superglue.gin"),
        "T5Config.param_dtype": "bfloat16",
        "T5Config.scan_layers": True,
        "T5Config.remat": True,
        "mesh.model": _SPLIT[name],
    }
    stages = {
        0: f"{_BUCKET}/t5_1_1_{size}/checkpoint_1000000",
        # Not published: to be made by `pretrain`, from the checkpoint above.
        10: f"frozen/t5_1_1_lm10k_{size}.safetensors",
        50: f"frozen/t5_1_1_lm50k_{size}.safetensors",
        100: f"{_BUCKET}/t5_1_1_lm100k_{size}/checkpoint_1100000",
    }
    return Model(name, kept, stages)


_SUPERGLUE = {
    "BoolQ": "boolq",
    "CB": "cb",
    "COPA": "copa",
    "MultiRC": "multirc",
    "ReCoRD": "record",
    "RTE": "rte",
    "WiC": "wic",
    "WSC": "wsc",
}
# In the words of each task's own format.
_INSTRUCTIONS = {
    "boolq": "Is the answer to the question True or False, by the passage?",
    "cb": "Is the hypothesis an entailment or a contradiction of the premise, or "
    "neutral?",
    "copa": "Which is the cause or effect of the premise, choice1 or choice2?",
    "multirc": "Is the answer to the question True or False, by the paragraph?",
    "record": "Which entity stands at the placeholder of the query?",
    "rte": "Is the hypothesis an entailment of the premise, or not_entailment?",
    "wic": "Does the word mean the same in both sentences, True or False?",
    "wsc": "What does the pronoun between the asterisks mean?",
}
_NAMED = _names(_SUPERGLUE, "super_glue_{}_v102") | {
    "WSC": "super_glue_wsc_and_dev_v102_simple"
}
_MRQA = {
    "TextbookQA": "mrqa_textbookqa",
    "BioASQ": "mrqa_bioasq",
    "RACE": "mrqa_race",
    "RE": "mrqa_relation_extraction",
    "DuoRC": "mrqa_duorc",
    "DROP": "mrqa_drop",
}
_PARAPHRASES = (
    Transfer("QQP", "MRPC", "qqp", "mrpc_from_qqp"),
    Transfer("MRPC", "QQP", "mrpc", "qqp_from_mrpc"),
)
_DESCRIBED = _SUPERGLUE | {"MRPC": "mrpc", "QQP": "qqp", "SQuAD": "squad"} | _MRQA
_LONG: dict[str, Mapping[str, Any]] = {
    task: {"TASK_FEATURE_LENGTHS": {"inputs": 512, "targets": 64}}
    for task in ("record", "record_sentinel", "squad", "super_glue")
}
_LONG |= {
    task: {"TASK_FEATURE_LENGTHS": {"inputs": 512, "targets": 16}}
    for task in ("wsc", "wsc_sentinel")
}

_PAPER_TASKS = Tasks(
    suite=_SUPERGLUE,
    sentinel=_names(_SUPERGLUE, "{}_sentinel"),
    named=_NAMED,
    mixture="super_glue",
    question="squad",
    domains=_MRQA,
    paraphrases=_PARAPHRASES,
    timed="boolq",
    described=_DESCRIBED,
    source="mnli_and_dev",
    own=_LONG | {"squad": {**_LONG["squad"], **_NO_WORDS}},
    designed=_designed(_INSTRUCTIONS, free=["record", "wsc"]),
)

PAPER = Scale(
    name="paper",
    models=tuple(map(_t5, _SPLIT)),
    tasks=_PAPER_TASKS,
    devices=32,  # 16 TPU v3 chips
    # 30,000 steps of 32 examples, a prompt of 100, Adafactor at 0.3: the defaults.
    settings={"T5Config.dtype": "bfloat16"},
    # 2^16 and 2^20 tokens a batch, by inputs of 512.
    whole={
        **_WHOLE,
        "schedule.learning_rate": 0.001,
        "BATCH_SIZE": 128,
        "T5Config.dropout_rate": 0.1,
        "T5Config.param_dtype": "float32",
        "param_shardings.fully_sharded": True,
    },
    mixed={"BATCH_SIZE": 2_048, "NUM_MICROBATCHES": 16},
    seeds=(0, 1, 2),
    test="",
    longer=262_144,
    # As many examples as GPT-3 was shown; those that have no room are left out.
    designed={"prompt_design.examples": 32, "prompt_design.tokens": 1_024},
)

# english: a model of our own on the official files (--data_dir)

ENGLISH = PAPER._replace(
    name="english",
    models=(_embedded("pocket_english", percents=(0,)),),
    tasks=_PAPER_TASKS._replace(own={"squad": _NO_WORDS}),
    settings={
        "TRAIN_STEPS": 1_000,
        "EVAL_PERIOD": 100,
        "TASK_FEATURE_LENGTHS": {"inputs": 256, "targets": 16},
        "T5Config.dtype": "auto",
    },
    whole={**_WHOLE, "schedule.learning_rate": 0.01},
    mixed={},
    devices=1,
    longer=4_000,
    designed={},
)

SCALES = {scale.name: scale for scale in (POCKET, PAPER, ENGLISH)}
