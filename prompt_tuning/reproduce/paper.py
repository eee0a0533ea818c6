"""What the paper prints, and what its authors printed later.

Lester et al. (2021), arXiv 2104.08691v2, and SPoT (Vu et al., arXiv 2110.07904v2), each
number with its table. Figures 1, 3 and 4 print none, so there is none of them here.
Scores are of development sets, in percent.

    table = build(..., **paper.TABLE_1.beside())
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prompt_tuning.runs.compare import Spread

SIZES = ("Small", "Base", "Large", "XL", "XXL")

# The words of its legends: how our tables call their columns, too.
PROMPT, MODEL, MULTI = "prompt tuning", "model tuning", "multi-task model tuning"
DESIGN, SPOT = "prompt design", "SPoT"
DESIGN_ALONE = "prompt design, no examples"  # not in the paper
UNIFORM, VOCABULARY, LABELS = "random uniform", "sampled vocabulary", "class label"
CORRUPTION, SENTINEL = "span corruption", "span corruption + sentinel"
ADAPTED = "LM adaptation"
PREFIX, PREFIX_TRAIN = "prefix tuning (infer)", "prefix tuning (train)"
WARP = "WARP"
AVERAGE, BEST, ENSEMBLE = "average", "best", "ensemble"
CLUSTERED, CLUSTERED_RANDOM = "in clusters", "in clusters, random vectors"
LABELLED, LABELLED_RANDOM = "label words", "label words, random vectors"
SCORE = "mean over tasks"  # in the paper, of SuperGLUE


class Printed(NamedTuple):
    """A printed table: where it is, and its numbers by (row, column)."""

    where: str
    values: Mapping[tuple[str, str], Spread]

    def beside(self, kind: str = "paper") -> dict[str, Any]:
        """The fields of a Table with these numbers in it, as `paper` or `later`."""
        return {kind: self.values, "sources": (self.where,)}


def _grid(
    columns: Sequence[str],
    rows: Mapping[str, Sequence[Spread | None]],
) -> dict[tuple[str, str], Spread]:
    return {
        (row, column): value
        for row, values in rows.items()
        for column, value in zip(columns, values, strict=True)
        if value is not None
    }


def _runs(mean: float, deviation: float | None = None) -> Spread:
    """Three runs: "3 per configuration"."""
    return Spread(mean, deviation, 3)


def _one(value: float) -> Spread:
    return Spread(value, None, 1)


def _column(
    name: str, values: Mapping[str, float], of: int = 1
) -> dict[tuple[str, str], Spread]:
    return {(row, name): Spread(value, None, of) for row, value in values.items()}


# Domain shift and transfer

TABLE_1 = Printed(
    "Table 1: F1, trained on SQuAD; checkpoints chosen on SQuAD's development set",
    _grid(
        (MODEL, PROMPT),
        {
            "SQuAD": (_runs(94.9, 0.2), _runs(94.8, 0.1)),
            "TextbookQA": (_runs(54.3, 3.7), _runs(66.8, 2.9)),
            "BioASQ": (_runs(77.9, 0.4), _runs(79.1, 0.3)),
            "RACE": (_runs(59.8, 0.6), _runs(60.7, 0.5)),
            "RE": (_runs(88.4, 0.1), _runs(88.8, 0.2)),
            "DuoRC": (_runs(68.9, 0.7), _runs(67.7, 1.1)),
            "DROP": (_runs(68.9, 1.7), _runs(67.1, 1.9)),
        },
    ),
)

TABLE_2 = Printed(
    "Table 2: trained on one paraphrase task, asked the other",
    _grid(
        (MODEL, PROMPT),
        {
            "QQP to MRPC, accuracy": (_runs(73.1, 0.9), _runs(76.3, 0.1)),
            "QQP to MRPC, F1": (_runs(81.2, 2.1), _runs(84.3, 0.3)),
            "MRPC to QQP, accuracy": (_runs(74.9, 1.3), _runs(75.4, 0.8)),
            "MRPC to QQP, F1": (_runs(70.9, 1.2), _runs(69.7, 0.3)),
        },
    ),
)

# Ensembles

# By task and metric; the score's row is printed, and follows from the others.
_TABLE_3 = {
    "BoolQ": {"accuracy": (91.1, 91.3, 91.7)},
    "CB": {"accuracy": (99.3, 100.0, 100.0), "F1": (99.0, 100.0, 100.0)},
    "COPA": {"accuracy": (98.8, 100.0, 100.0)},
    "MultiRC": {"EM": (65.7, 66.3, 67.1), "F1a": (88.7, 89.0, 89.4)},
    "ReCoRD": {"EM": (92.7, 92.9, 93.2), "F1": (93.4, 93.5, 93.9)},
    "RTE": {"accuracy": (92.6, 93.5, 93.5)},
    "WiC": {"accuracy": (76.2, 76.6, 77.4)},
    "WSC": {"accuracy": (95.8, 96.2, 96.2)},
}
_COLUMNS_3 = (AVERAGE, BEST, ENSEMBLE)


def task_scores(column: str) -> dict[str, float]:
    """Table 3's score of each task: the mean of its metrics."""
    i = _COLUMNS_3.index(column)
    return {
        task: statistics.fmean(values[i] for values in metrics.values())
        for task, metrics in _TABLE_3.items()
    }


def superglue(scores: Mapping[str, float]) -> float:
    """The SuperGLUE score: the mean over tasks, with equal weights."""
    return statistics.fmean(scores.values())


TABLE_3 = Printed(
    "Table 3: five prompts of one frozen T5-XXL; of two metrics their mean",
    {
        **{
            place: value
            for column in _COLUMNS_3
            for place, value in _column(
                column, task_scores(column), 5 if column == AVERAGE else 1
            ).items()
        },
        (SCORE, AVERAGE): Spread(90.5, None, 5),
        (SCORE, BEST): _one(91.0),
        (SCORE, ENSEMBLE): _one(91.3),
    },
)

# Parameters

LENGTHS_4 = (1, 5, 20, 50, 100, 150)

TABLE_4_TRAINED = {
    "Small": (512, 2_560, 10_420, 25_600, 51_200, 76_800),
    "Base": (768, 3_840, 15_360, 38_400, 76_800, 115_200),
    "Large": (1_024, 5_120, 20_480, 51_200, 102_400, 153_600),
    "XL": (2_048, 10_240, 40_960, 102_400, 204_800, 307_200),
    "XXL": (4_096, 20_480, 81_920, 204_800, 409_600, 614_400),
}
TABLE_4_TOTAL = {
    "Small": (76961664, 76963712, 76971572, 76986752, 77012352, 77037952),
    "Base": (247578624, 247581696, 247593216, 247616256, 247654656, 247693056),
    "Large": (783151104, 783155200, 783170560, 783201280, 783252480, 783303680),
    "XL": (
        *(2_849_759_232, 2_849_767_424, 2_849_798_144),
        *(2_849_859_584, 2_849_961_984, 2_850_064_384),
    ),
    "XXL": (
        *(11_135_336_448, 11_135_352_832, 11_135_414_272),
        *(11_137_380_352, 11_135_741_952, 11_135_946_752),
    ),
}
TABLE_4_PERCENT = {
    "Small": (0.00067, 0.00333, 0.01330, 0.03325, 0.06648, 0.09969),
    "Base": (0.00031, 0.00155, 0.00620, 0.01551, 0.03101, 0.04651),
    "Large": (0.00013, 0.00065, 0.00262, 0.00654, 0.01907, 0.01961),
    "XL": (0.00007, 0.00036, 0.00143, 0.00359, 0.00718, 0.01078),
    "XXL": (0.00004, 0.00018, 0.00074, 0.00184, 0.00368, 0.00552),
}
# Where the architecture gives another number than Table 4: misprints of the paper.
# Its percentages of XL at 20 and 100 are cut, not rounded.
TABLE_4_SLIPS = {
    ("Small", 20, "trained"): 10_240,
    ("Small", 20, "total"): 76_971_392,
    ("Large", 100, "percent"): 0.01307,
    ("XXL", 50, "total"): 11_135_537_152,
}


def _by_length(
    rows: Mapping[str, Sequence[float]],
) -> dict[tuple[str, str], Spread]:
    lengths = [str(length) for length in LENGTHS_4]
    return _grid(lengths, {row: [*map(_one, of)] for row, of in rows.items()})


TABLE_4 = Printed("Table 4: trained parameters", _by_length(TABLE_4_TRAINED))

# Time to converge


def _time(text: str) -> float:
    """Of "1:14:16" or "03:17": seconds."""
    seconds = 0
    for part in text.split(":"):
        seconds = 60 * seconds + int(part)
    return float(seconds)


def _times(*texts: str) -> list[Spread | None]:
    """Of "3:17 ±02:10", minutes and seconds, or hours before them; "-" where none."""
    pairs = [text.split(" ±") for text in texts]
    return [None if p == ["-"] else _runs(_time(p[0]), _time(p[1])) for p in pairs]


TABLE_5 = Printed(
    "Table 5: seconds until within 1% of the final score on BoolQ, by prompt length; "
    "some runs are left out there, as they were pre-empted",
    {
        (size, length): value
        for (length, size), value in _grid(
            SIZES,
            {
                "1": _times("-", "-", "3:17 ±02:10", "3:37 ±02:11", "21:23 ±01:54"),
                "20": _times("-", "-", "-", "49:08 ±18:53", "53:03 ±16:25"),
                "50": _times(
                    "09:05 ±05:07",
                    "55:01 ±27:48",
                    "1:14:16 ±13:12",
                    "2:30:10 ±25:40",
                    "3:13:13 ±23:08",
                ),
                "100": _times(
                    "16:25 ±01:15",
                    "29:57 ±00:18",
                    "1:23:36 ±10:21",
                    "3:35:00 ±54:42",
                    "3:51:15 ±45:53",
                ),
            },
        ).items()
    },
)

# Data

TRAIN, VALIDATION, TEST = "train", "validation", "test"  # columns

TABLE_7 = Printed(
    "Table 7: examples of each split. The sizes it prints of MRQA's sets look permuted "
    "among them. WSC: its true referents alone, of 554",
    _grid(
        (TRAIN, VALIDATION, TEST),
        {
            name: [None if size is None else _one(size) for size in sizes]
            for name, sizes in {
                "BoolQ": (9_427, 3_270, 3_245),
                "CB": (250, 56, 250),
                "COPA": (400, 100, 500),
                "MultiRC": (27_243, 4_848, 9_693),
                "ReCoRD": (100_730, 10_000, 10_000),
                "RTE": (2_490, 277, 3_000),
                "WiC": (5_428, 638, 1_400),
                "WSC": (259, 104, 146),
                "MRPC": (3_668, 408, 1_725),
                "QQP": (363_849, 40_430, 390_965),
                "SQuAD": (87_599, 10_570, None),
                "TextbookQA": (None, 1_504, None),
                "RACE": (None, 1_503, None),
                "BioASQ": (None, 1_501, None),
                "RE": (None, 674, None),
                "DuoRC": (None, 2_948, None),
                "DROP": (None, 1_503, None),
            }.items()
        },
    ),
)

# {task: {label: (training, validation)}}, in percent
_LABELS = {
    "BoolQ": {"False": (37.7, 37.8), "True": (62.3, 62.2)},
    "CB": {
        "contradiction": (47.6, 50.0),
        "entailment": (46.0, 41.1),
        "neutral": (6.4, 8.9),
    },
    "COPA": {"choice1": (48.8, 55.0), "choice2": (51.2, 45.0)},
    "MultiRC": {"False": (55.9, 57.2), "True": (44.1, 42.8)},
    "WiC": {"False": (50.0, 50.0), "True": (50.0, 50.0)},
    "WSC": {"False": (0.0, 63.5), "True": (100.0, 36.5)},
    # Its training shares sum to 101; 50.2 must be meant.
    "RTE": {"entailment": (51.2, 52.7), "not_entailment": (49.8, 47.3)},
    "MRPC": {"equivalent": (67.4, 68.4), "not_equivalent": (32.6, 31.6)},
    "QQP": {"duplicate": (36.9, 36.8), "not_duplicate": (63.1, 63.2)},
}

TABLES_8_TO_16 = Printed(
    "Tables 8 to 16: labels' shares. RTE's of training sum to 101",
    _grid(
        (TRAIN, VALIDATION),
        {
            f"{task}, {label}": [_one(share) for share in shares]
            for task, labels in _LABELS.items()
            for label, shares in labels.items()
        },
    ),
)

# The authors' later numbers

SPOT_SIZES = Printed(
    "SPoT (Vu et al., 2022), Table 4: SuperGLUE score by size, the best checkpoint. "
    "Prompt tuning at Base is what its Table 1 has of 30,000 steps (262,144: 66.6); "
    "by that its rows of prompt tuning and multi-task model tuning were told apart, "
    "XL's deviations could not be",
    _grid(
        (DESIGN, PROMPT, MODEL, MULTI, SPOT),
        {
            "Small": (
                *(_one(40.6), _runs(59.8, 0.8), _runs(62.8, 0.8)),
                *(_runs(64.6, 0.2), _runs(64.5, 0.3)),
            ),
            "Base": (
                *(_one(43.4), _runs(63.1, 1.1), _runs(73.7, 0.6)),
                *(_runs(79.2, 0.3), _runs(73.2, 0.3)),
            ),
            "Large": (
                *(_one(45.1), _runs(74.5, 2.2), _runs(81.3, 0.6)),
                *(_runs(84.5, 0.1), _runs(82.7, 0.2)),
            ),
            "XL": (
                *(_one(47.8), _runs(79.2), _runs(83.1, 0.2)),
                *(_runs(88.0), _runs(88.7, 0.3)),
            ),
            "XXL": (
                *(_one(52.8), _runs(88.8, 0.2), _runs(89.9, 0.2)),
                *(_runs(90.1, 0.2), _runs(91.2, 0.1)),
            ),
        },
    ),
)

STEPS, LONGER = "30,000 steps", "262,144 steps"

SPOT_BASE = Printed(
    "SPoT, Table 1: T5 1.1 Base, by steps and by the task that the prompt comes from",
    _grid(
        ("GLUE", SCORE),
        {
            STEPS: (_runs(78.4, 1.7), _runs(63.1, 1.1)),
            LONGER: (_runs(81.2, 0.4), _runs(66.6, 0.2)),
            "from MNLI": (_runs(82.5), _runs(72.6, 0.8)),
            "from SQuAD": (_runs(82.2), _runs(72.0)),
            "from C4": (_runs(82.0), _runs(67.7)),
        },
    ),
)
