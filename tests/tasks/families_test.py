"""Families of data sets: where their files lie and what TFDS calls them."""

import pytest

from prompt_tuning.tasks import families, files, paper


def test_superglue_lies_in_folders_of_lines():
    row = families.superglue("cb", "CB", families.fields("premise"), ("a", "b"))
    assert row.name == "super_glue_cb_v102" and row.tfds == "super_glue/cb:1.0.2"
    assert row.files["validation"] == "superglue/CB/val.jsonl"
    assert row.prefix == "cb"


def test_what_differs_is_a_field_of_the_row():
    row = families.superglue("axg", "AX-g", families.fields("premise"), prefix="rte")
    assert row.prefix == "rte"
    with pytest.raises(ValueError, match="colour"):
        families.superglue("axg", "AX-g", families.fields("premise"), colour="red")


def test_glue_shows_the_columns_by_alphabet():
    places = families.columns("b", "a", label="gold")
    assert places == {"b": "b", "a": "a", "label": "gold"}
    row = families.glue("wnli", "WNLI", places, ("no", "yes"))
    assert row.files["validation"] == "glue/WNLI/dev.tsv"
    (features,) = row.render({"b": "2", "a": "1", "label": 1}, row.labels)
    assert features == {"inputs": "a: 1 b: 2", "targets": "yes"}


def test_sets_out_of_domain_are_tfdss_test_split():
    row = families.mrqa("race", "RACE", "race")
    assert row.files["validation"] == "mrqa/dev/RACE.jsonl.gz"
    assert row.tfds_splits["validation"] == "test" and row.labels == ()


def test_squadshifts_come_from_files_alone():
    row = families.squadshift("nyt", "nyt")
    assert row.files == {"test": "squadshifts/nyt_v1.0.json"}
    assert row.tfds == "" and row.read is files.squad


def test_no_two_rows_share_a_name():
    rows = (*paper.TABLE, *paper.ZERO_SHOT)
    for field in ("alias", "name"):
        assert len({getattr(row, field) for row in rows}) == len(rows)
