"""The tasks that the paper trains and evaluates on, as T5 renders them.

    prompt-tuning train --gin.MIXTURE_OR_TASK_NAME="'cb'" --data_dir=D
    prompt-tuning tasks --check --data_dir=D

To add a task, add a row to TABLE. The examples come from TFDS, or with --data_dir from
the official files in that folder: superglue/CB/train.jsonl, glue/MRPC/train.tsv,
squad/train-v1.1.json, mrqa/dev/DROP.jsonl.gz, squadshifts/nyt_v1.0.json,
dpr/train.c.txt.
"""

from prompt_tuning.tasks import accuracy, files, flatten, render, scoring
from prompt_tuning.tasks.families import (
    columns,
    fields,
    glue,
    mrqa,
    questions,
    squadshift,
    superglue,
)
from prompt_tuning.tasks.parts import Part, by_place, by_text
from prompt_tuning.tasks.sources import Row, register, register_mixture

COPA = ("choice1", "choice2")
COLA = ("unacceptable", "acceptable")
CB = ("entailment", "contradiction", "neutral")
MNLI = ("entailment", "neutral", "contradiction")
RTE = ("entailment", "not_entailment")
MRPC = ("not_equivalent", "equivalent")
QQP = ("not_duplicate", "duplicate")
# The paper's class words where targets are free text (section 3.2, footnote 7).
RECORD_WORDS = ("commonsense", "reasoning", "reading", "comprehension")
WSC_WORDS = ("commonsense", "pronoun", "resolution")

CB_METRICS = (accuracy, scoring.mean_3class_f1)
F1 = (accuracy, scoring.f1)
MATTHEWS = (scoring.matthews_corrcoef,)

MATCHED = {"validation": "dev_matched.tsv", "test": "test_matched.tsv"}
MISMATCHED = {"validation": "dev_mismatched.tsv", "test": "test_mismatched.tsv"}
MNLI_SPLITS = {
    "train": "train.tsv",
    **{f"{split}_matched": name for split, name in MATCHED.items()},
    **{f"{split}_mismatched": name for split, name in MISMATCHED.items()},
}
AX, AXB, AXG = ({"test": name} for name in ("AX.tsv", "AX-b.jsonl", "AX-g.jsonl"))
SQUAD = {"train": "squad/train-v1.1.json", "validation": "squad/dev-v1.1.json"}
MRQA = {"train": "mrqa/train/SQuAD.jsonl.gz", "validation": "mrqa/dev/SQuAD.jsonl.gz"}

AXG_FIELDS = fields("hypothesis", "premise")
AXB_FIELDS = fields("hypothesis", "premise", source=("sentence2", "sentence1"))
QQP_COLUMNS = columns("question1", "question2", label="is_duplicate")
MRPC_COLUMNS = {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"}
MNLI_COLUMNS = {
    "premise": "sentence1",
    "hypothesis": "sentence2",
    "label": "gold_label",
}
COLA_COLUMNS = ("source", "label", "mark", "sentence")  # only test.tsv names them

TABLE = (
    # SuperGLUE: alias, folder, what the model reads, labels, metrics
    superglue("boolq", "BoolQ", fields("passage", "question")),
    superglue("cb", "CB", fields("hypothesis", "premise"), CB, CB_METRICS),
    superglue(
        "copa", "COPA", fields("choice1", "choice2", "premise", "question"), COPA
    ),
    superglue(
        "multirc",
        "MultiRC",
        render.multirc,
        metrics=(scoring.multirc_exact_match, scoring.multirc_f1),
        flat=flatten.multirc,
        postprocess=scoring.option_index,
    ),
    superglue(
        "record",
        "ReCoRD",
        render.record,
        labels=(),
        metrics=(scoring.record,),
        flat=flatten.record,
        postprocess=scoring.entity,
        class_words=RECORD_WORDS,
    ),
    superglue("rte", "RTE", fields("hypothesis", "premise"), RTE),
    superglue("wic", "WiC", fields("sentence1", "sentence2", "word")),
    superglue(
        "wsc",
        "WSC",
        render.winograd,
        labels=(),
        name="super_glue_wsc_and_dev_v102_simple",
        tfds="super_glue/wsc.fixed:1.0.2",
        flat=flatten.winograd,
        prefix="wsc:",
        postprocess=scoring.same_referent,
        class_words=WSC_WORDS,
        trains_on=1,
    ),
    superglue("axb", "AX-b", AXB_FIELDS, RTE, MATTHEWS, AXB, prefix="rte"),
    superglue("axg", "AX-g", AXG_FIELDS, RTE, names=AXG, prefix="rte"),
    Row(
        alias="dpr",
        name="dpr_v001_simple",
        files={"train": "dpr/train.c.txt", "test": "dpr/test.c.txt"},
        read=files.pronouns,
        tfds="definite_pronoun_resolution:1.1.0",
        render=render.pronoun,
        labels=(),
        metrics=(accuracy,),
        prefix="wsc:",
        postprocess=scoring.text,
        class_words=WSC_WORDS,
    ),
    # GLUE: alias, folder, columns (to be read alphabetically), labels, metrics
    glue("cola", "CoLA", columns("sentence"), COLA, MATTHEWS, headless=COLA_COLUMNS),
    glue("sst2", "SST-2", columns("sentence"), ("negative", "positive")),
    glue("mrpc", "MRPC", MRPC_COLUMNS, MRPC, F1),
    glue("qqp", "QQP", QQP_COLUMNS, QQP, F1, ragged=True),
    glue(
        "stsb",
        "STS-B",
        columns("sentence1", "sentence2", label="score"),
        labels=(),
        metrics=(scoring.pearson_corrcoef, scoring.spearman_corrcoef),
        render=render.similarity,
        postprocess=scoring.number,
    ),
    glue("mnli", "MNLI", MNLI_COLUMNS, MNLI, names=MNLI_SPLITS),
    glue("mnli_matched", "MNLI", MNLI_COLUMNS, MNLI, names=MATCHED, prefix="mnli"),
    glue(
        "mnli_mismatched",
        "MNLI",
        MNLI_COLUMNS,
        MNLI,
        names=MISMATCHED,
        prefix="mnli",
    ),
    glue("qnli", "QNLI", columns("question", "sentence"), RTE),
    glue("rte", "RTE", columns("sentence1", "sentence2"), RTE, alias="glue_rte"),
    glue("wnli", "WNLI", columns("sentence1", "sentence2"), RTE[::-1]),
    glue("ax", "AX", MNLI_COLUMNS, MNLI, MATTHEWS, AX, prefix="mnli"),
    # Question answering: alias, name or file
    questions("squad", "squad_v010_allanswers", SQUAD, files.squad, "squad/v1.1:3.0.0"),
    questions("mrqa_squad", "mrqa_squad_v001_examples", MRQA, tfds="mrqa/squad:1.0.0"),
    mrqa("textbookqa", "TextbookQA", "textbook_qa"),
    mrqa("bioasq", "BioASQ", "bio_asq"),
    mrqa("race", "RACE", "race"),
    mrqa("relation_extraction", "RelationExtraction", "relation_extraction"),
    mrqa("duorc", "DuoRC.ParaphraseRC", "duo_rc"),
    mrqa("drop", "DROP", "drop"),
    squadshift("amazon", "amazon_reviews"),
    squadshift("new_wiki", "new_wiki"),
    squadshift("nyt", "nyt"),
    squadshift("reddit", "reddit"),
)
ROWS = {row.alias: row for row in TABLE}


def _transferred(target: str, source: str, word: str, ours: str) -> Row:
    """A task for a model tuned on another; `ours` is our label for its `word`."""
    row = ROWS[target]
    return row._replace(
        alias=f"{target}_from_{source}",
        name=f"glue_{target}_from_{source}_v002",
        files={"validation": row.files["validation"]},
        translate=(word, ours),
    )


ZERO_SHOT = (
    _transferred("mrpc", "qqp", "duplicate", "equivalent"),
    _transferred("qqp", "mrpc", "equivalent", "duplicate"),
)


def _of_one_file(alias: str, train: Part, validation: Part) -> Row:
    """A task whose training and validation examples are parts of its validation file.

    It is for who has no training file; its scores are no scores of the task.
    """
    row = ROWS[alias]
    file = row.files["validation"]
    return row._replace(
        alias=f"{alias}_dev",
        name=f"{row.name}_dev",
        files={"train": file, "validation": file},
        parts={"train": train, "validation": validation},
        tfds="",
        tfds_splits={},
    )


OF_ONE_FILE = (
    _of_one_file("boolq", by_text("passage", 0, 80), by_text("passage", 80, 100)),
    _of_one_file("qqp", by_place(0, 80), by_place(80, 100)),
    # The file is in the order of its 48 articles, but neighbours are mixed: those in
    # the gap are in neither part.
    _of_one_file("mrqa_squad", by_place(0, 85), by_place(92, 100)),
)

# How often T5's multi-task mixture draws from each task: its number of examples.
SUPERGLUE_RATES = {
    "dpr": 1_322,
    "wsc": 259,
    "boolq": 9_427,
    "cb": 250,
    "copa": 400,
    "multirc": 27_243,
    "record": 138_854,
    "rte": 2_490,
    "wic": 5_428,
    "axb": 0,
    "axg": 0,
}

for _row in (*TABLE, *ZERO_SHOT, *OF_ONE_FILE):
    register(_row)
for _alias in SUPERGLUE_RATES:
    register(ROWS[_alias], prefix=True)
    register(ROWS[_alias], sentinel=True)

register_mixture(
    ["super_glue_v102_proportional", "super_glue"],
    {ROWS[alias].name: float(rate) for alias, rate in SUPERGLUE_RATES.items()},
)
register_mixture(
    ["taskless_glue_mnli_and_dev_v002", "mnli_and_dev"],
    ["mnli", "mnli_matched", "mnli_mismatched"],
)
for _row, _source in zip(ZERO_SHOT, ("qqp", "mrpc"), strict=True):
    register_mixture(
        [f"taskless_glue_{_row.alias}_zeroshot_v002", f"{_row.alias}_zeroshot"],
        [_source, _row.alias],
    )
_MRQA = [alias for alias in ROWS if alias.startswith("mrqa_") and alias != "mrqa_squad"]
for _alias in _MRQA:
    _name = _alias.replace("mrqa", "squad_to", 1)
    register_mixture([f"{_name}_examples", _name], ["squad", _alias])
register_mixture(["squad_to_mrqa_examples", "squad_to_mrqa"], ["squad", *_MRQA])
