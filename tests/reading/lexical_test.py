"""Lexical clusters: the paper's example, and what is none."""

import pytest

from prompt_tuning.reading import lexical


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("▁Technology", "technology", "case"),
        ("▁technology", "▁technologies", "stem"),
        ("▁technological", "▁technician", "prefix"),
        ("▁the", "▁them", None),
        ("▁food", "▁tool", None),
        ("1000", "10001", None),
        ("▁", "▁", None),
    ],
)
def test_two_pieces_are_related_by_case_stem_or_prefix(one, other, kind):
    assert lexical.relation(one, other) == kind
    assert lexical.relation(other, one) == kind


def test_the_papers_cluster_is_one():
    pieces = ["▁Technology", "▁technology", "▁Technologies", "▁technological", "▁tool"]
    (found,) = lexical.clusters(pieces)
    assert found == lexical.Cluster("stem", tuple(pieces[:4]))
    assert lexical.share(pieces) == 4 / 5


def test_clusters_come_by_size_with_the_loosest_relation_needed():
    pieces = ["▁cat", "▁walk", "Cat", "▁walks", "▁dog", "▁walking"]
    largest, other = lexical.clusters(pieces)
    assert largest == lexical.Cluster("stem", ("▁walk", "▁walks", "▁walking"))
    assert other == lexical.Cluster("case", ("▁cat", "Cat"))
    assert not lexical.clusters(["▁a", "▁b"])
    assert lexical.share([]) == 0
