import collections

import numpy as np
import pytest

from prompt_tuning.tasks.pocket import kinds, reasons, reports, senses, world
from prompt_tuning.tasks.pocket.world import Draws

SPLITS = ("train", "validation", "test")


def test_the_same_seed_draws_the_same():
    def some(seed):
        draws = Draws(seed)
        return [draws.one(range(100)) for _ in range(20)], draws.shuffled("abcdefgh")

    assert some("a") == some("a") != some("b")


@pytest.mark.parametrize("shift", [0, 4])
def test_zipf_draws_number_r_as_often_as_1_over_r_and_shift(shift):
    draws = Draws("law")
    counts = np.bincount(
        [draws.zipf(range(12), shift) for _ in range(40_000)], minlength=12
    )
    first = np.arange(12) + shift + 1
    # Between 1 / r and 1 / (r + 1), as the draw rounds a continuous law.
    expected = np.log((first + 1) / first) / np.log((12 + shift + 1) / (shift + 1))
    np.testing.assert_allclose(counts / 40_000, expected, atol=0.012)


def test_rare_draws_the_last_hardly_ever():
    draws = Draws("rare")
    counts = collections.Counter(draws.rare(range(48)) for _ in range(20_000))
    assert counts[0] > 0.4 * 20_000 > 20 * counts[9] > 40 * counts[19] > 0
    assert sum(counts[n] for n in range(40, 48)) < 20_000 / 500


def test_several_are_different_and_no_more_than_there_are():
    draws = Draws("several")
    for count in (1, 3, 5):
        assert len(set(draws.several("abcde", count))) == count
    with pytest.raises(ValueError, match="6 different ones of only 5"):
        draws.several("abcde", 6)


def test_chance_and_one_are_fair():
    draws = Draws("fair")
    assert 0.27 < np.mean([draws.chance(0.3) for _ in range(4_000)]) < 0.33
    counts = collections.Counter(draws.one("abcd") for _ in range(4_000))
    assert min(counts.values()) > 900


def test_names_are_words_of_one_thing_only():
    names = [person.name for person in world.PEOPLE]
    names += [place.name for place in world.PLACES]
    names += [*world.OBJECTS, *world.SHIPS, *world.PORTS, *world.CARGOES]
    assert len(names) == len(set(names))
    invented = {name for own in kinds.THINGS.values() for name in own}
    assert not invented & {name.removeprefix("the ") for name in names}


@pytest.mark.parametrize(
    "options",
    [
        world.OBJECTS,
        world.SHIPS,
        senses.WORDS,
        reasons.CAUSES,
        reasons.FRAMES,
        *reports.REPORTS.values(),
        *kinds.THINGS.values(),
    ],
)
def test_splits_share_out_all_options_and_have_frequent_ones(options):
    parts = [world.share(options, split) for split in SPLITS]
    assert sorted(x for part in parts for x in part) == sorted(options)
    assert all(min(map(list(options).index, part)) < 4 for part in parts)
    assert len(parts[0]) >= len(parts[1]) + len(parts[2]) - 1


def test_casts_share_no_name_and_have_women_and_men():
    casts = [world.cast(split) for split in SPLITS]
    for field in world.Cast._fields:
        parts = [set(getattr(cast, field)) for cast in casts]
        assert sum(map(len, parts)) == len(set().union(*parts))
    for cast in casts:
        pronouns = collections.Counter(person.he for person in cast.people)
        assert pronouns["she"] == pronouns["he"] >= 4
