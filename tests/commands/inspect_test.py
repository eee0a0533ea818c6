"""`inspect` of planted prompts, in a process where TensorFlow cannot be imported."""

import json

import numpy as np
import planted_prompt
import pytest
import small
import tiny
import without

from prompt_tuning import cli
from prompt_tuning.reading import places, report


def told(capsys, *arguments):
    assert cli.main(["inspect", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["prompts"]


def test_a_planted_prompt_is_read_drawn_and_told_without_tensorflow(tmp_path):
    planted_prompt.plant(tmp_path / "planted.npy")
    text = without.without_tensorflow(tmp_path, "inspect", "planted.npy", "--output=p")
    assert "▁food 1.00" in text
    assert "2 positions share their nearest piece with another: ▁plant at 3 4" in text
    assert "3 of 3 label words are the nearest piece" in text
    assert "Khashabi et al., 2022" in text
    assert "Bailey et al., 2023" in text
    drawn = {path.name for path in (tmp_path / "p").iterdir()}
    names = "norms", "neighbours", "map"
    assert drawn == {f"{name}.{kind}" for name in names for kind in ("png", "pdf")}


def test_json_has_every_number(tmp_path, capsys):
    prompt_PxD = planted_prompt.plant(tmp_path / "planted.npy")
    (found,) = told(capsys, tmp_path / "planted.npy", "--neighbours=2")
    assert [near["cosine"][0][0] for near in found["neighbours"]] == [
        f"▁{word}" for word in (*planted_prompt.WORDS, "plant", "plant")
    ]
    assert {len(near["l2"]) for near in found["neighbours"]} == {2}
    assert found["norms"] == pytest.approx(np.linalg.norm(prompt_PxD, axis=1))
    assert found["counts"]["this prompt"]["distinct"] == 4
    assert [label["rank"] for label in found["labels"]] == [1, 1, 1]
    assert found["repeated"] == [{"piece": "▁plant", "positions": [3, 4]}]


def test_without_its_model_a_prompt_is_told_what_can_be_said(tmp_path, capsys):
    np.save(tmp_path / "bare.npy", 3 * np.eye(4, 96, dtype=np.float32))
    assert cli.main(["inspect", str(tmp_path / "bare.npy")]) == 0
    text = capsys.readouterr().out
    assert "norm of a position  3.00   3.00  3.00" in text
    assert "need the frozen model" in text
    assert "mean cosine of two positions: 0.000; highest: 0.000, of 0 and 1" in text
    assert "by dot" not in text
    flag = "--gin.INITIAL_CHECKPOINT_PATH=pocket_nano"
    (found,) = told(capsys, tmp_path / "bare.npy", flag)
    assert found["pieces"] == 2816
    planted_prompt.plant(tmp_path / "far.npy", frozen_model="gone.safetensors")
    (found,) = told(capsys, tmp_path / "far.npy")
    assert "no frozen model at 'gone.safetensors'" in found["missing"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["none.npy"], "no prompt file at none.npy"),
        (["ours.npy", "--neighbours=0"], "--neighbours is 0"),
        (["other.npy"], "was trained on pocket_nano (fingerprint 000000000000)"),
        (["wide.npy"], "7 wide, but pocket_nano embeds in 96"),
        (["ours.npy", "--gin.INITIAL_CHECKPOINT_PATH=gone"], "no frozen model at"),
        (["ours.npy", "--gin.PROMPT_LENGTH=9"], "PROMPT_LENGTH is 9"),
        (["ours.npy", "--positions"], "it does not say which that is"),
        (["ours.npy", "--weights=1"], "--weights is '1'"),
        (["ours.npy", "--combine=s.npy", "--weights=1,2"], "for each of the 1 prompts"),
        (["ours.npy", "--combine=s.npy", "--weights=nan"], "--weights is 'nan'"),
    ],
)
def test_what_contradicts_is_refused(tmp_path, monkeypatch, capsys, arguments, problem):
    monkeypatch.chdir(tmp_path)
    planted_prompt.plant(tmp_path / "ours.npy", length=5)
    planted_prompt.plant(tmp_path / "other.npy", frozen_fingerprint="0" * 64)
    np.save("wide.npy", np.ones((2, 7), np.float32))
    (tmp_path / "wide.json").write_text('{"frozen_model": "pocket_nano"}')
    assert cli.main(["inspect", *arguments]) == 2
    assert problem in capsys.readouterr().err


def test_a_run_is_read_over_the_steps_that_it_kept(tmp_path, monkeypatch, capsys):
    frozen = small.save_frozen(tmp_path / "frozen.safetensors")
    keep = {"KEEP_STEPS": "(0, 2)", "EVAL_PERIOD": 2}
    run = small.trained(tmp_path / "run", frozen, **keep)
    capsys.readouterr()
    (found,) = told(capsys, run)
    steps = [one["step"] for one in found["steps"]]
    assert steps[:2] == [0, 2] and steps[-2:] == [6, 8]
    first, last = found["steps"][0], found["steps"][-1]
    assert first["labels_at_home"] == 3
    assert min(first["cosines"][:3]) == pytest.approx(1)
    assert last["cosine"] < first["cosine"]
    (step,) = told(capsys, run / "checkpoints" / "0")
    assert [near["cosine"][0][0] for near in step["neighbours"]] == first["nearest"]
    assert [label["home"] for label in step["labels"]] == [0, 1, 2]
    monkeypatch.setattr(places, "MOST_ROWS", 50)
    (found,) = told(capsys, run, "--positions", f"--output={tmp_path / 'p'}")
    kept = json.loads((run / "metrics.json").read_text())
    score = kept["trained"]["metrics"]["small_kind"]["accuracy"]
    assert found["positions"]["score"] == pytest.approx(score)
    assert len(found["positions"]["without_P"]) == 4
    assert min(found["positions"]["importance_P"]) > 0
    paid = found["positions"]["attention"]
    assert np.shape(paid["encoder"]["weights"]) == (1, 2, 4)
    assert 0 < np.sum(paid["decoder"]["weights"]) < 2
    text = report.text(found)
    assert "rounded to the nearest pieces by l2" in text
    for stack, title in report.ATTENDED.items():
        (share, *_) = 100 * np.sum(paid[stack]["weights"], axis=(0, 2))
        told_there = text.partition(f"{title}, % of attention to the prompt")[2]
        assert told_there.split("layer 0")[1].split()[0] == f"{share:.1f}"
    drawn = {path.stem for path in (tmp_path / "p").iterdir()}
    assert drawn >= {"positions", "attention", "steps"}


def test_a_prompt_that_was_held_near_a_text_is_told_so(tmp_path, capsys):
    frozen = small.save_frozen(tmp_path / "frozen.safetensors")
    held = {"wayward.text": "boat garden", "wayward.weight": 100}
    run = small.trained(tmp_path / "run", frozen, TRAIN_STEPS=4, **held)
    capsys.readouterr()
    (found,) = told(capsys, run)
    wayward = found["wayward"]
    assert (wayward["text"], wayward["weight"]) == ("boat garden", 100)
    free = small.trained(tmp_path / "free", frozen, TRAIN_STEPS=4)
    ids = small.VOCABULARY.encode("boat garden")
    rows = tiny.params(small.MODEL)["token_embedder"]["embedding"][ids]
    apart = [
        np.linalg.norm(small.prompt(x)[: len(ids)] - rows, axis=1) for x in (run, free)
    ]
    assert wayward["distance"] == pytest.approx(apart[0].mean(), rel=1e-4)
    assert apart[0].mean() < apart[1].mean()
    assert wayward["pieces"] == len(ids)
    assert "Held near 'boat garden' with weight 100: of" in report.text(found)


def test_several_prompts_are_compared_and_added(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    one = planted_prompt.plant(tmp_path / "one.npy")
    other = planted_prompt.plant(tmp_path / "other.npy", words=["new"] * 5)
    more = "--combine=sum.npy", "--weights=1,-0.5"
    assert cli.main(["inspect", "one.npy", "other.npy", *more, "--json"]) == 0
    alike = json.loads(capsys.readouterr().out)["similarities"]
    assert alike.keys() == {"means", "positions", "same_positions", "neurons"}
    assert alike["neurons"][0][0] == pytest.approx(1)
    assert 0 < alike["neurons"][0][1] < 1
    np.testing.assert_allclose(np.load("sum.npy"), one - other / 2, atol=1e-5)
    np.save("narrow.npy", np.ones((2, 7), np.float32))
    np.save("narrower.npy", np.eye(2, 7, dtype=np.float32))
    assert cli.main(["inspect", "narrow.npy", "narrower.npy", "--output=p"]) == 0
    assert "cosine of means" in capsys.readouterr().out
    assert (tmp_path / "p" / "similarities.png").is_file()
    assert cli.main(["inspect", "narrow.npy", "one.npy"]) == 0
    assert "not compared with one another: they are of" in capsys.readouterr().out
