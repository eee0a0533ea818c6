"""Each member of an ensemble says what it says alone, whatever is beside it."""

import json
from pathlib import Path

import numpy as np
import pytest
import small
import tiny

from prompt_tuning.errors import UserError
from prompt_tuning.runs import parts
from prompt_tuning.serving import members

TEXTS = "my_texts"  # the module of the task of texts below


def prompt_files(folder, frozen, **said):
    """Prompts of several lengths and both places, each with its description."""
    made = {"method": "prompt", "frozen_model": str(frozen), "task": "small_kind"}
    made |= {"module": "small", "label_words": list(small.LABELS)}
    paths = []
    for number, (length, place) in enumerate([(3, "suffix"), (9, None)]):
        path = folder / f"{number}.npy"
        np.save(path, 5 * tiny.prompt(length, seed=number))
        about = made | {"length": length, "target_length": 4, **said}
        about |= {"place": place} if place else {}
        path.with_suffix(".json").write_text(json.dumps(about))
        paths.append(str(path))
    return paths


def answered(prompts, key, folder, capsys, **settings):
    """What `evaluate` says of prompts, and the records it wrote, named by `key`."""
    capsys.readouterr()
    given = {"MODEL_DIR": folder, "PROMPT_LENGTH": None} | settings
    assert small.main("evaluate", *prompts, **given) == 0
    found = json.loads(capsys.readouterr().out)
    written = Path(found[key]).read_text().splitlines()
    return found, [json.loads(line) for line in written]


def alone(path, *where, **settings):
    return answered([f"--prompt={path}"], "predictions", *where, **settings)


def together(paths, *where, **settings):
    return answered(["--prompts", *paths], "votes", *where, **settings)


def scores(found):
    return found["metrics"], found["illegal"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A folder with a module with a task of texts, which needs no seqio."""
    path = tmp_path_factory.mktemp("texts") / f"{TEXTS}.py"
    path.write_text("""
from functools import partial
from prompt_tuning.tasks import TextTask, accuracy, label_index

def examples(split):
    for i in range(11):
        yield {"inputs": f"tone {'so ' * i}", "targets": ("good", "bad")[i % 2]}

labels = partial(label_index, label_classes=["good", "bad"])
splits = {"train": 11, "validation": 11}
TASKS = {"tone": TextTask("tone", splits, examples, labels, [accuracy])}
""")
    return path.parent


KINDS = {
    "mixture": {"MIXTURE_OR_TASK_NAME": "small_both"},
    "texts": {"MIXTURE_OR_TASK_NAME": "tone", "MIXTURE_OR_TASK_MODULE": TEXTS},
    "labels": {"DECODING": "labels"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_members_say_what_they_say_alone(
    frozen, texts, tmp_path, capsys, monkeypatch, kind
):
    monkeypatch.syspath_prepend(texts)
    settings = {"INITIAL_CHECKPOINT_PATH": frozen} | KINDS[kind]
    paths = prompt_files(tmp_path, frozen)
    single = [
        alone(path, tmp_path / str(i), capsys, **settings)
        for i, path in enumerate(paths)
    ]
    found, votes = together(paths, tmp_path / "all", capsys, **settings)
    for number, (expected, records) in enumerate(single):
        assert scores(found["members"][paths[number]]) == scores(expected)
        said = [vote["answers"][number] for vote in votes]
        assert said == [record["prediction"] for record in records]
    expected, records = single[0]
    one, voted = together(paths[:1], tmp_path / "one", capsys, **settings)
    assert scores(one["vote"]) == scores(expected)
    assert one["average"]["metrics"] == one["best"]["metrics"] == expected["metrics"]
    assert all(v.items() >= r.items() for v, r in zip(voted, records, strict=True))
    for key in ("split", "examples", "cut"):
        assert one[key] == found[key] == expected[key]


def test_on_a_mesh_the_votes_are_the_same(frozen, tmp_path, capsys):
    paths = prompt_files(tmp_path, frozen)
    made = {"INITIAL_CHECKPOINT_PATH": frozen}
    one = together(paths, tmp_path / "a", capsys, **made)
    many = together(paths, tmp_path / "b", capsys, **made, **{"mesh.model": 2})
    assert [v["answers"] for v in one[1]] == [v["answers"] for v in many[1]]
    assert one[0]["vote"]["metrics"] == many[0]["vote"]["metrics"]


@pytest.mark.parametrize(
    ("key", "one", "other", "message"),
    [
        (
            "task",
            "cb",
            "rte",
            "the task of a is 'cb', but that of b is 'rte': the",
        ),
        ("method", "prompt", "whole", "the METHOD of a is 'prompt', but that of b is"),
        ("frozen_fingerprint", "ab", "cd", "the frozen model of a is 'x', but that of"),
        ("vocabulary_fingerprint", "ab", "cd", r"vocabulary of a is .* \(another fing"),
    ],
)
def test_members_share_model_vocabulary_and_task(key, one, other, message):
    about = {"frozen_model": "x", "vocabulary": "y"}
    said = {"0": {}, "a": about | {key: one}, "b": about | {key: other}}
    with pytest.raises(UserError, match=message):
        members.check_shared(said)
    members.check_shared(said | {"b": about | {key: one}})


def test_a_sweeps_folder_stands_for_its_runs(tmp_path):
    for name in ("b", "a"):
        (tmp_path / "sweep" / name).mkdir(parents=True)
        np.save(tmp_path / "sweep" / name / "prompt.npy", tiny.prompt())
    runs = [str(tmp_path / "sweep" / name) for name in ("a", "b")]
    assert members.expand([str(tmp_path / "sweep")]) == runs
    assert members.expand([runs[1], "other.npy"]) == [runs[1], "other.npy"]
    with pytest.raises(UserError, match="sweep/a is given twice"):
        members.expand([str(tmp_path / "sweep"), runs[0]])
    (tmp_path / "link").symlink_to(tmp_path / "sweep" / "a")
    for same in (f"{runs[0]}/prompt.npy", str(tmp_path / "link")):
        with pytest.raises(UserError, match=f"{same} is given twice"):
            members.expand([runs[0], same])


def test_a_run_of_a_sweep_that_has_no_prompt_is_not_passed_over(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.gin").touch()
        (tmp_path / name / "eval.jsonl").touch()
    np.save(tmp_path / "a" / "prompt.npy", tiny.prompt())
    with pytest.raises(UserError, match="b has no prompt: finish its run, or give"):
        members.expand([str(tmp_path)])
    assert members.expand([str(tmp_path / "a")]) == [str(tmp_path / "a")]


def test_a_place_that_is_asked_for_holds_where_a_prompt_says_none(frozen, tmp_path):
    paths = prompt_files(tmp_path, frozen)
    settings = small.settings(
        INITIAL_CHECKPOINT_PATH=frozen, PROMPT_LENGTH=3, PROMPT_PLACE="suffix"
    )
    for place in ("prefix", "suffix"):
        facts = members.load(settings, paths, place).facts
        assert [facts[path].place for path in paths] == ["suffix", place]
    np.save(tmp_path / "2.npy", tiny.prompt())
    (tmp_path / "2.json").write_text('{"place": "prefix"}')
    with pytest.raises(UserError, match=r"'suffix', but .*2\.npy says 'prefix'"):
        members.load(settings, [*paths, str(tmp_path / "2.npy")], "suffix")


def test_a_prompt_of_another_width_is_named(frozen, tmp_path):
    np.save(tmp_path / "p.npy", np.zeros((2, 8)))
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen)
    with pytest.raises(UserError, match=r"p\.npy is 8 wide, but .* needs 16"):
        members.load(settings, [str(tmp_path / "p.npy")])


def test_a_task_without_labels_has_no_probabilities(frozen, tmp_path):
    np.save(tmp_path / "p.npy", tiny.prompt())
    changes = {"MIXTURE_OR_TASK_NAME": "small_free"}
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, **changes)
    loaded = members.load(settings, [str(tmp_path / "p.npy")])
    split = parts.open_task(settings.run, loaded.model.vocabulary).load("validation")
    said = members.answer(loaded, split, batch_size=8)
    assert said.scores_NxMxL is None and len(said.texts_NxM[0]) == 10
    assert said.log_probs_NxM.shape == (1, 10) and (said.log_probs_NxM < 0).all()
    with pytest.raises(UserError, match="small_free names no label words"):
        members.answer(loaded, split, batch_size=8, labels_alone=True)
