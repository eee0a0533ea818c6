"""`tasks`, `tasks --render` and `tasks --check`, as a user calls them."""

import functools
import hashlib
import itertools
import json

import pytest
import seqio

from prompt_tuning import cli
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.tasks import paper, pocket_model
from prompt_tuning.tasks_io import listing

BYTES = load_vocabulary("byt5")
LABELS = ["entailment", "neutral", "entailment", "maybe"]


@pytest.fixture
def data_dir(tmp_path):
    """CB's validation split with one bad row of four, and an empty file of RTE's."""
    lines = [
        {"premise": "It rained.", "hypothesis": f"Né {label}.", "label": label}
        for label in LABELS
    ]
    for path, content in (("CB/val", lines), ("CB/test", lines[:1]), ("RTE/val", [])):
        path = tmp_path / "superglue" / f"{path}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in content))
    return tmp_path


def run(capsys, *arguments):
    status = cli.main(["tasks", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_list_has_a_line_for_each_task_and_mixture():
    lines = [
        " ".join(line.split())
        for line in listing.describe("prompt_tuning.tasks.paper").splitlines()
    ]
    assert "taskless_glue_mrpc_v002, mrpc not_equivalent, equivalent" in lines
    assert "squad_v010_allanswers, squad" in lines
    assert "squad_to_drop_examples, squad_to_drop" in lines
    assert len(lines) == len({line.split()[0] for line in lines})


def test_listing_asks_no_rate_function():
    def rate(task):
        pytest.fail("it may need data that is not there")

    added = ("rated", "rated_too")
    for name in added:
        seqio.MixtureRegistry.add(name, [("cb", rate), ("rte", 1.0)])
    try:
        lines = listing.describe("prompt_tuning.tasks.paper").splitlines()
    finally:
        for name in added:
            seqio.MixtureRegistry.remove(name)
    assert sum(line.startswith("rated, rated_too ") for line in lines) == 1


def test_render_prints_pairs(capsys, data_dir):
    arguments = ["--render=cb", "--split=test", f"--data_dir={data_dir}"]
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    assert out == "hypothesis: Né entailment. premise: It rained.\tentailment\n"


def test_render_stops_at_the_limit_and_takes_mixtures():
    render = functools.partial(
        listing.render, "prompt_tuning.tasks.pocket", load_vocabulary(pocket_model())
    )
    pairs = list(render("pocket", "validation", limit=500))
    assert len(pairs) == 500
    assert pairs[0].startswith("passage: ") and pairs[-1].split("\t")[0].endswith(
        "mood:"
    )
    assert list(render("pocket", "validation", limit=0)) == []
    (text,) = render("pocket_text", "validation", limit=1)
    assert text.startswith("\t")


def test_rendered_lines_hash_as_t5s(capsys, shared):
    golden = json.loads((shared / "golden" / "render.json").read_text())["render"]
    case = next(case for case in golden if case["task"] == "wsc")
    arguments = ["--render=wsc", "--split=train", f"--data_dir={shared / 'data'}"]
    _, out, _ = run(capsys, *arguments)
    assert hashlib.sha256(out.encode()).hexdigest() == case["sha256"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--render=cbb"], "no task or mixture 'cbb'"),
        (
            ["--render=cb", "--split=dev"],
            "no split 'dev'; it has train, valid",
        ),
        (["--render=cb", "--split=train"], "there is no"),
        (["--render=cb", "--split=validation"], "val.jsonl, line 4: the label is"),
        (["--render=rte", "--split=validation"], "val.jsonl is empty"),
    ],
)
def test_bad_input_is_named_and_exits_2(capsys, data_dir, arguments, message):
    status, out, err = run(capsys, *arguments, f"--data_dir={data_dir}")
    assert status == 2 and out == ""
    assert err.startswith("prompt-tuning: error: ") and message in err


def test_check_reports_and_counts_bad_rows(capsys, data_dir):
    status, out, err = run(capsys, "--check", f"--data_dir={data_dir}")
    lines = [line.strip() for line in out.splitlines()]
    start = lines.index(f"validation: {data_dir}/superglue/CB/val.jsonl")
    count, inputs, targets, labels, bad, named = lines[start + 1 : start + 7]
    assert count == "3 examples (paper: 56)"
    assert "tokens on average, 95% have at most" in inputs
    assert targets.startswith("targets: ")
    assert labels == (
        "labels: contradiction 0.0% (paper: 50.0%), entailment 66.7% (paper: 41.1%), "
        "neutral 33.3% (paper: 8.9%)"
    )
    assert bad == "1 rows cannot be read:"
    assert named.endswith(
        "val.jsonl, line 4: the label is 'maybe'; it must be one of entailment, "
        "contradiction, neutral"
    )
    assert any("RTE/val.jsonl is empty" in line for line in lines)
    assert f"train: not there ({data_dir}/superglue/CB/train.jsonl)" in lines
    assert status == 2 and "2 rows cannot be read" in err


def test_check_downloads_nothing(monkeypatch):
    monkeypatch.setattr(
        seqio.TfdsDataSource, "get_dataset", lambda *a, **k: pytest.fail("downloads")
    )
    lines = list(listing.check("prompt_tuning.tasks.paper", BYTES))
    assert lines[0] == "tokens are counted with the vocabulary byt5"
    assert "  train: not there (TFDS super_glue/cb:1.0.2)" in lines
    checked = {line.strip() for line in lines if line.startswith("\n")}
    assert {row.alias for row in paper.TABLE} <= checked


def test_only_the_first_bad_rows_are_named():
    class Source:
        def read(self, split, on_error):
            for number in range(50):
                on_error(ValueError(f"row {number}"))
            return iter(())

        def published(self, split):
            return None

    lines, errors = listing._check_split(Source(), "train", BYTES)
    assert errors == 50
    assert lines[0] == "0 examples"
    assert sum(line.startswith("  row") for line in lines) == listing.NAMED
    assert lines[-1] == "  and 30 more"


def test_lengths_are_counted_with_eos():
    features = {"inputs": b"abc", "targets": b"a", "label": 1}

    class Source:
        def read(self, split, on_error):
            return zip(itertools.repeat(1), [features, features])

        def published(self, split):
            return 2, {"True": 50.0}

    lines, _ = listing._check_split(Source(), "train", BYTES)
    assert lines == [
        "2 examples of 1 records (paper: 2)",
        "inputs: 4.0 tokens on average, 95% have at most 4, the longest 4",
        "targets: 2.0 tokens on average, 95% have at most 2, the longest 2",
        "labels: True 100.0% (paper: 50.0%)",
    ]


def test_rendering_gives_lengths_to_the_preprocessors_that_need_them(capsys):
    def short(dataset, sequence_length):
        return dataset.take(sequence_length["inputs"])

    task = seqio.TaskRegistry.get("pocket_kind")
    task = task.replace(preprocessors=[short, *task.preprocessors])
    seqio.TaskRegistry.add_provider("short_kind", task)
    try:
        lengths = "--gin.TASK_FEATURE_LENGTHS={'inputs': 3, 'targets': 2}"
        assert run(capsys, "--render=short_kind", lengths)[1].count("\n") == 3
        status, _, err = run(capsys, "--render=short_kind")
    finally:
        seqio.TaskRegistry.remove("short_kind")
    assert status == 2 and "give TASK_FEATURE_LENGTHS" in err
