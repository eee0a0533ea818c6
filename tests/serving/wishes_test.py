"""What a caller may ask for."""

import numpy as np
import pytest

from prompt_tuning.errors import UserError
from prompt_tuning.serving import wishes


def test_a_value_is_for_all_texts_or_a_list_for_each():
    assert wishes.each("most", 3, 2) == [3, 3]
    assert wishes.each("prompts", "ab", 2) == ["ab", "ab"]
    assert wishes.each("seed", np.arange(2), 2) == [0, 1]
    with pytest.raises(UserError, match="most has 3 values for 2 texts"):
        wishes.each("most", [1, 2, 3], 2)


GOOD = {"most": 5, "temperature": 0.7, "top_p": 0.9, "seed": 0, "answers": 3}
GOOD |= {"beams": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"most": 0}, "most is 0; it must be a whole number of at least 1"),
        ({"most": 10**7}, "it must be 1,000,000 tokens or fewer"),
        ({"most": True}, "most is True"),
        ({"temperature": -0.1}, "temperature is -0.1; it must be 0 or above"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": "1"}, "temperature is '1'"),
        ({"top_p": 0}, "top_p is 0; it must be above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"answers": 1.5}, "answers is 1.5"),
        ({"beams": 0}, "beams is 0"),
        ({"beams": 4}, "beam search draws nothing"),
        ({"beams": 2, "temperature": 0, "top_p": 1}, "2 beams find 2 answers, not 3"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, message):
    wishes.check(**GOOD)
    with pytest.raises(UserError) as error:
        wishes.check(**(GOOD | changes))
    assert message in str(error.value)
