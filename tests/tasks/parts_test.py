"""Parts of a file: nothing twice, nothing lost, like texts together."""

import pytest

from prompt_tuning.tasks import DataError
from prompt_tuning.tasks.parts import by_place, by_text


def pieces(count=250, texts=90):
    for number in range(count):
        record = {"text": f"passage {number % texts}", "number": number}
        yield f"line {number}", lambda record=record: [record]


def numbers(part):
    return [record["number"] for _, parse in part for record in parse()]


def test_places_are_percent_of_the_pieces():
    assert numbers(by_place(0, 80)(pieces())) == [*range(200)]
    assert numbers(by_place(80, 100)(pieces())) == [*range(200, 250)]
    assert numbers(by_place(50, 60)(pieces(5))) == [2]


def test_records_of_one_text_are_in_one_part():
    first, second = (
        numbers(by_text("text", *at)(pieces())) for at in ((0, 80), (80, 100))
    )
    assert sorted(first + second) == [*range(250)] and 25 < len(second) < 75
    assert not {n % 90 for n in first} & {n % 90 for n in second}
    assert numbers(by_text("text", 0, 80)(pieces())) == first


def test_the_error_of_a_piece_comes_when_it_is_parsed():
    def broken():
        raise DataError("no JSON")

    for part in (by_place(0, 100), by_text("text", 0, 100)):
        ((where, parse),) = part(iter([("line 7", broken)]))
        assert where == "line 7"
        with pytest.raises(DataError, match="no JSON"):
            parse()
