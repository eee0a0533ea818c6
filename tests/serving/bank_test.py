"""Rows of the bank are the prompts asked for, whichever are on the devices."""

import numpy as np
import pytest
import tiny

from prompt_tuning import partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.serving import bank
from prompt_tuning.t5.extra import END

WIDTH = 4
ROW = 4 * bank.LENGTH * WIDTH  # bytes


@pytest.fixture(scope="module")
def mesh():
    return partitioning.mesh(2, 4)


FRONT = 5, 0, 2  # vectors in front of the input: all, none, or some of them


def prompt(number, length=5):
    return np.full((length, WIDTH), number + 1, np.float32)


def filled(mesh, count, most_bytes=bank.MOST_BYTES):
    prompts = bank.Bank(WIDTH, mesh, most_bytes)
    for number in range(count):
        prompts.add(str(number), prompt(number), in_front=FRONT[number % 3])
    return prompts


def check(prompts, numbers, length=8):
    own = prompts.gather([str(number) for number in numbers], length)
    assert own.vectors_BxPxD.shape == (len(numbers), length, WIDTH)
    for row, number in enumerate(numbers):
        expected = np.pad(prompt(number), ((0, length - 5), (0, 0)))
        np.testing.assert_array_equal(own.vectors_BxPxD[row], expected)
        assert own.length_B[row] == 5 and own.in_front_B[row] == FRONT[number % 3]


def test_a_batch_gathers_its_own_prompts(mesh):
    prompts = filled(mesh, 3)
    check(prompts, [2, 0, 2, 1])
    extra = prompts.gather(["0", "1", "2", "0"], 8).extra()
    assert extra.prompt.mask.tolist() == [[True] * 5 + [False] * 3] * 4
    before_BxP = [row[:5] for row in extra.prompt.before.tolist()]
    around = [0, 0, END, END, END]
    assert before_BxP == [[0] * 5, [END] * 5, around, [0] * 5]


def test_a_prompt_is_replaced_and_removed(mesh):
    prompts = filled(mesh, 2)
    prompts.add("1", prompt(3), in_front=0)
    own = prompts.gather(["0", "1"], 5)
    np.testing.assert_array_equal(own.vectors_BxPxD[1], prompt(3))
    prompts.remove("0")
    with pytest.raises(UserError, match="'0' has just been removed"):
        prompts.gather(["1", "0"], 5)


def test_the_array_doubles_up_to_its_bytes_and_then_the_oldest_make_room(mesh):
    prompts = filled(mesh, 64, most_bytes=100 * ROW)
    assert prompts.capacity == 64 == prompts.on_devices
    for number in range(64, 120):
        prompts.add(str(number), prompt(number), in_front=FRONT[number % 3])
    assert prompts.capacity == 100 == prompts.on_devices
    prompts.gather(["119", "118"], 8)
    with tiny.compilations() as compilations:
        prompts.gather(["0", "1"], 8)  # they come back from the host
        prompts.remove("7")
        prompts.add("7", prompt(7), in_front=0)
        prompts.gather(["7", "0"], 8)
    assert not compilations
    assert prompts.on_devices == 100
    for start in range(0, 120, 4):
        check(prompts, range(start, start + 4))


def test_a_batch_of_more_prompts_than_the_bytes_allow_is_answered(mesh):
    prompts = filled(mesh, 6, most_bytes=2 * ROW)
    assert prompts.on_devices == 2
    check(prompts, [5, 4, 3, 2, 1, 0])
    check(prompts, [0, 5])


def test_a_longer_prompt_than_any_before_widens_the_array(mesh):
    prompts = filled(mesh, 3)
    prompts.add("long", np.ones((bank.LENGTH + 1, WIDTH)), in_front=bank.LENGTH + 1)
    own = prompts.gather(["long", "1"], bank.LENGTH + 9)
    assert own.length_B.tolist() == [bank.LENGTH + 1, 5]
    assert own.vectors_BxPxD[0].sum() == (bank.LENGTH + 1) * WIDTH
    check(prompts, [2, 1, 0, 0])
    assert prompts.on_devices == 4
