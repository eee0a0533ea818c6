"""A section keeps the rules of its fields, and names the one that is broken."""

import dataclasses

import pytest

from prompt_tuning import sections
from prompt_tuning.errors import UserError


def test_a_section_of_ones_own_is_checked_by_its_rules():
    @dataclasses.dataclass(frozen=True)
    class Own:
        share: float | None = sections.setting(0.5, "a share", least=0, below=1)
        words: list[str] | None = sections.setting(None, "words")

    names = {"share": "SHARE", "words": "own.words"}
    for good in (Own(), Own(0), Own(None, ["a"])):
        sections.check(good, names)
    for wrong, message in [
        (Own(1.0), r"SHARE is 1\.0; it must be a number below 1"),
        (Own(1), "SHARE is 1; it must be a number below 1"),
        (Own(-0.5), r"SHARE is -0\.5; it must be a number of at least 0"),
        (Own("a"), "SHARE is 'a'; it must be of type float or NoneType"),
        (Own(words=("a",)), r"own\.words is \('a',\); it must be of type list or None"),
    ]:
        with pytest.raises(UserError, match=message):
            sections.check(wrong, names)


def test_a_section_checks_itself_and_calls_its_fields_by_its_name():
    @dataclasses.dataclass(frozen=True)
    class Own(sections.Section):
        SECTION = "own"
        rank: int = sections.setting(8, "a rank", least=1)

    assert Own(rank=2).rank == 2
    with pytest.raises(UserError, match=r"^own\.rank is 0; it must be a whole number"):
        Own(rank=0)
    assert sections.called(sections.RUN, "seed") == "SEED"


def test_choices_are_told_and_the_near_one_with_them():
    choices = ("class_label", "file")
    assert sections.one_of(choices, "Class-Label").endswith("did you mean class_label?")
    assert sections.one_of(choices, "zeros") == "one of class_label, file"
