"""The paper's Tables 7 to 16: {task: {split: (examples, {label: percent})}}.

For ReCoRD the paper counts queries, for WSC's training split the true referents. RTE's
training labels add up to 101 percent in Table 14; its 51.2 must mean 50.2. The sizes of
the MRQA sets are as printed, although they seem to be swapped.
"""

PUBLISHED = {
    "boolq": {
        "train": (9_427, {"False": 37.7, "True": 62.3}),
        "validation": (3_270, {"False": 37.8, "True": 62.2}),
        "test": (3_245, {}),
    },
    "cb": {
        "train": (250, {"contradiction": 47.6, "entailment": 46.0, "neutral": 6.4}),
        "validation": (56, {"contradiction": 50.0, "entailment": 41.1, "neutral": 8.9}),
        "test": (250, {}),
    },
    "copa": {
        "train": (400, {"choice1": 48.8, "choice2": 51.2}),
        "validation": (100, {"choice1": 55.0, "choice2": 45.0}),
        "test": (500, {}),
    },
    "multirc": {
        "train": (27_243, {"False": 55.9, "True": 44.1}),
        "validation": (4_848, {"False": 57.2, "True": 42.8}),
        "test": (9_693, {}),
    },
    "record": {
        "train": (100_730, {}),
        "validation": (10_000, {}),
        "test": (10_000, {}),
    },
    "rte": {
        "train": (2_490, {"entailment": 51.2, "not_entailment": 49.8}),
        "validation": (277, {"entailment": 52.7, "not_entailment": 47.3}),
        "test": (3_000, {}),
    },
    "wic": {
        "train": (5_428, {"False": 50.0, "True": 50.0}),
        "validation": (638, {"False": 50.0, "True": 50.0}),
        "test": (1_400, {}),
    },
    "wsc": {
        "train": (259, {"False": 0.0, "True": 100.0}),
        "validation": (104, {"False": 63.5, "True": 36.5}),
        "test": (146, {}),
    },
    "mrpc": {
        "train": (3_668, {"equivalent": 67.4, "not_equivalent": 32.6}),
        "validation": (408, {"equivalent": 68.4, "not_equivalent": 31.6}),
        "test": (1_725, {}),
    },
    "qqp": {
        "train": (363_849, {"duplicate": 36.9, "not_duplicate": 63.1}),
        "validation": (40_430, {"duplicate": 36.8, "not_duplicate": 63.2}),
        "test": (390_965, {}),
    },
    "squad": {"train": (87_599, {}), "validation": (10_570, {})},
    "mrqa_textbookqa": {"validation": (1_504, {})},
    "mrqa_race": {"validation": (1_503, {})},
    "mrqa_bioasq": {"validation": (1_501, {})},
    "mrqa_relation_extraction": {"validation": (674, {})},
    "mrqa_duorc": {"validation": (2_948, {})},
    "mrqa_drop": {"validation": (1_503, {})},
}
