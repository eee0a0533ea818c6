"""The tasks that the paper trains and evaluates on, as T5 renders them.

    prompt-tuning train --gin.MIXTURE_OR_TASK_NAME="'cb'" --data_dir=D
    prompt-tuning tasks --check --data_dir=D

To add a task, add a row to TABLE. The examples come from TFDS, or with --data_dir from
the official files in that folder: superglue/CB/train.jsonl, glue/MRPC/train.tsv,
squad/train-v1.1.json, mrqa/dev/DROP.jsonl.gz, squadshifts/nyt_v1.0.json,
dpr/train.c.txt.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

from tasks import accuracy, files, flatten, render, scoring
from tasks.render import FALSE_TRUE
from tasks.sources import Row, register, register_mixture

CB = ("entailment", "contradiction", "neutral")
MNLI = ("entailment", "neutral", "contradiction")
RTE = ("entailment", "not_entailment")
MRPC = ("not_equivalent", "equivalent")
QQP = ("not_duplicate", "duplicate")
# The paper's words for tasks whose targets are free text (section 3.2, footnote 7).
RECORD_WORDS = ("commonsense", "reasoning", "reading", "comprehension")
WSC_WORDS = ("commonsense", "pronoun", "resolution")

CB_METRICS = (accuracy, scoring.mean_3class_f1)
F1 = (accuracy, scoring.f1)
MATTHEWS = (scoring.matthews_corrcoef,)
CORRELATIONS = (scoring.pearson_corrcoef, scoring.spearman_corrcoef)
MULTIRC_METRICS = (scoring.multirc_exact_match, scoring.multirc_f1)

JSONL = {"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"}
TSV = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
MATCHED = {"validation": "dev_matched.tsv", "test": "test_matched.tsv"}
MISMATCHED = {"validation": "dev_mismatched.tsv", "test": "test_mismatched.tsv"}
MNLI_SPLITS = {
    "train": "train.tsv",
    **{f"{split}_matched": name for split, name in MATCHED.items()},
    **{f"{split}_mismatched": name for split, name in MISMATCHED.items()},
}
MRPC_COLUMNS = {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"}
MNLI_COLUMNS = {
    "premise": "sentence1",
    "hypothesis": "sentence2",
    "label": "gold_label",
}
COLA_COLUMNS = ("source", "label", "mark", "sentence")  # test.tsv alone names them


def _fields(*names: str, source: Sequence[str] = ()) -> Callable:
    return functools.partial(render.fields, names=names, source=source)


def _same(*names: str, label: str = "label") -> dict[str, str]:
    return {name: name for name in names} | {"label": label}


def _superglue(
    alias: str,
    folder: str,
    show: Callable,
    labels: tuple[str, ...] = FALSE_TRUE,
    metrics: tuple[Callable, ...] = (accuracy,),
    names: Mapping[str, str] = JSONL,
    flat: Callable = lambda record: [record],
    **more: object,
) -> Row:
    """Files in superglue/FOLDER: a JSON object a line, that `flat` makes records of."""
    row = Row(
        alias=alias,
        name=f"super_glue_{alias}_v102",
        files={split: f"superglue/{folder}/{name}" for split, name in names.items()},
        read=functools.partial(files.jsonl, flatten=flat),
        tfds=f"super_glue/{alias}:1.0.2",
        render=show,
        labels=labels,
        metrics=metrics,
        prefix=alias,
    )
    return row._replace(**more)


def _glue(
    config: str,
    folder: str,
    columns: Mapping[str, str],
    labels: tuple[str, ...],
    metrics: tuple[Callable, ...] = (accuracy,),
    names: Mapping[str, str] = TSV,
    headless: Sequence[str] = (),
    **more: object,
) -> Row:
    """Files in glue/FOLDER: tables, their `columns` by TFDS's names of the fields.

    What the model reads are the fields by alphabet.
    """
    row = Row(
        alias=config,
        name=f"glue_{config}_v002",
        files={split: f"glue/{folder}/{name}" for split, name in names.items()},
        read=functools.partial(files.tsv, columns=columns, headless=headless),
        tfds=f"glue/{config}:1.0.0",
        render=_fields(*sorted(columns.keys() - {"label"})),
        labels=labels,
        metrics=metrics,
        prefix=config,
    )
    return row._replace(**more)


def _question_answering(
    alias: str,
    name: str,
    files_: Mapping[str, str],
    read: Callable = files.mrqa,
    tfds: str = "",
    **more: object,
) -> Row:
    """Questions about a context. T5 puts no name in front of them."""
    row = Row(
        alias=alias,
        name=name,
        files=files_,
        read=read,
        tfds=tfds,
        render=render.question,
        labels=(),
        metrics=(scoring.squad,),
        postprocess=scoring.answers,
    )
    return row._replace(**more)


def _mrqa(name: str, file: str, tfds: str) -> Row:
    """A set of MRQA that is out of domain; the released code's split is validation."""
    return _question_answering(
        f"mrqa_{name}",
        f"mrqa_{name}_v001_examples",
        {
            "validation": f"mrqa/dev/{file}.jsonl.gz",
            "test": f"mrqa/test/{file}.jsonl.gz",
        },
        tfds=f"mrqa/{tfds}:1.0.0",
        tfds_splits={"validation": "test"},
    )


def _squadshift(name: str, file: str) -> Row:
    alias = f"squadshifts_{name}"
    path = f"squadshifts/{file}_v1.0.json"
    return _question_answering(alias, alias, {"test": path}, files.squad)


TABLE = (
    # SuperGLUE: alias, folder, what the model reads, labels, metrics
    _superglue("boolq", "BoolQ", _fields("passage", "question")),
    _superglue("cb", "CB", _fields("hypothesis", "premise"), CB, CB_METRICS),
    _superglue(
        *("copa", "COPA", _fields("choice1", "choice2", "premise", "question")),
        labels=("choice1", "choice2"),
    ),
    _superglue(
        *("multirc", "MultiRC", render.multirc, FALSE_TRUE, MULTIRC_METRICS),
        flat=flatten.multirc,
        postprocess=scoring.option_index,
    ),
    _superglue(
        *("record", "ReCoRD", render.record, (), (scoring.record,)),
        flat=flatten.record,
        postprocess=scoring.entity,
        class_words=RECORD_WORDS,
    ),
    _superglue("rte", "RTE", _fields("hypothesis", "premise"), RTE),
    _superglue("wic", "WiC", _fields("sentence1", "sentence2", "word")),
    _superglue(
        *("wsc", "WSC", render.winograd, (), (accuracy,)),
        name="super_glue_wsc_and_dev_v102_simple",
        tfds="super_glue/wsc.fixed:1.0.2",
        flat=flatten.winograd,
        prefix="wsc:",
        postprocess=scoring.same_referent,
        class_words=WSC_WORDS,
        trains_on=1,
    ),
    _superglue(
        *("axb", "AX-b"),
        _fields("hypothesis", "premise", source=("sentence2", "sentence1")),
        *(RTE, MATTHEWS, {"test": "AX-b.jsonl"}),
        prefix="rte",
    ),
    _superglue(
        *("axg", "AX-g", _fields("hypothesis", "premise"), RTE),
        names={"test": "AX-g.jsonl"},
        prefix="rte",
    ),
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
    # GLUE: alias, folder, columns (the model reads them by alphabet), labels, metrics
    _glue(
        *("cola", "CoLA", _same("sentence"), ("unacceptable", "acceptable"), MATTHEWS),
        headless=COLA_COLUMNS,
    ),
    _glue("sst2", "SST-2", _same("sentence"), ("negative", "positive")),
    _glue("mrpc", "MRPC", MRPC_COLUMNS, MRPC, F1),
    _glue(
        *("qqp", "QQP", _same("question1", "question2", label="is_duplicate"), QQP, F1),
        ragged=True,
    ),
    _glue(
        *("stsb", "STS-B", _same("sentence1", "sentence2", label="score")),
        *((), CORRELATIONS),
        render=render.similarity,
        postprocess=scoring.number,
    ),
    _glue("mnli", "MNLI", MNLI_COLUMNS, MNLI, names=MNLI_SPLITS),
    _glue(*("mnli_matched", "MNLI", MNLI_COLUMNS, MNLI), names=MATCHED, prefix="mnli"),
    _glue(
        *("mnli_mismatched", "MNLI", MNLI_COLUMNS, MNLI),
        names=MISMATCHED,
        prefix="mnli",
    ),
    _glue("qnli", "QNLI", _same("question", "sentence"), RTE),
    _glue("rte", "RTE", _same("sentence1", "sentence2"), RTE, alias="glue_rte"),
    _glue("wnli", "WNLI", _same("sentence1", "sentence2"), RTE[::-1]),
    _glue(
        *("ax", "AX", MNLI_COLUMNS, MNLI, MATTHEWS),
        names={"test": "AX.tsv"},
        prefix="mnli",
    ),
    # Question answering: alias, name, files
    _question_answering(
        *("squad", "squad_v010_allanswers"),
        {"train": "squad/train-v1.1.json", "validation": "squad/dev-v1.1.json"},
        files.squad,
        tfds="squad/v1.1:3.0.0",
    ),
    _question_answering(
        *("mrqa_squad", "mrqa_squad_v001_examples"),
        {"train": "mrqa/train/SQuAD.jsonl.gz", "validation": "mrqa/dev/SQuAD.jsonl.gz"},
        tfds="mrqa/squad:1.0.0",
    ),
    _mrqa("textbookqa", "TextbookQA", "textbook_qa"),
    _mrqa("bioasq", "BioASQ", "bio_asq"),
    _mrqa("race", "RACE", "race"),
    _mrqa("relation_extraction", "RelationExtraction", "relation_extraction"),
    _mrqa("duorc", "DuoRC.ParaphraseRC", "duo_rc"),
    _mrqa("drop", "DROP", "drop"),
    _squadshift("amazon", "amazon_reviews"),
    _squadshift("new_wiki", "new_wiki"),
    _squadshift("nyt", "nyt"),
    _squadshift("reddit", "reddit"),
)
ROWS = {row.alias: row for row in TABLE}


def _transferred(target: str, source: str, word: str, ours: str) -> Row:
    """A task for a model of another one, whose `word` is `ours` in the labels."""
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

for _row in (*TABLE, *ZERO_SHOT):
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
        [f"taskless_{_row.name.replace('_v002', '_zeroshot_v002')}"]
        + [f"{_row.alias}_zeroshot"],
        [_source, _row.alias],
    )
_MRQA = [alias for alias in ROWS if alias.startswith("mrqa_") and alias != "mrqa_squad"]
for _alias in _MRQA:
    _name = _alias.replace("mrqa", "squad_to", 1)
    register_mixture([f"{_name}_examples", _name], ["squad", _alias])
register_mixture(["squad_to_mrqa_examples", "squad_to_mrqa"], ["squad", *_MRQA])
