from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust.data.core.split import SPLITS, split_groups, stratified_subset

samples = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=120
)  # (group, label)
seeds = st.integers(0, 2**63)


def split_of(pairs, seed, **shares):
    return split_groups([f"g{g}" for g, _ in pairs], [c for _, c in pairs], seed, **shares)


@given(samples, seeds)
def test_a_group_lies_in_one_split(pairs, seed):
    places = {}
    for (group, _), split in zip(pairs, split_of(pairs, seed), strict=True):
        assert split in SPLITS
        assert places.setdefault(group, split) == split


@given(samples, seeds, st.randoms())
def test_order_of_files_does_not_matter(pairs, seed, random):
    before = dict(zip((g for g, _ in pairs), split_of(pairs, seed), strict=True))
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert dict(zip((g for g, _ in shuffled), split_of(shuffled, seed), strict=True)) == before


@given(st.lists(st.integers(10, 60), min_size=1, max_size=5), seeds)
def test_shares_hold_in_every_class(counts, seed):
    labels = [c for c, n in enumerate(counts) for _ in range(n)]
    names = [f"{c}/{i}" for i, c in enumerate(labels)]
    found = Counter(zip(labels, split_groups(names, labels, seed), strict=True))
    for c, n in enumerate(counts):
        assert found[c, "test"] == found[c, "val"] == round(0.1 * n)


def test_seed_changes_the_split_and_rare_classes_keep_a_training_image():
    labels = [0] * 97 + [1, 1, 2]
    names = [str(i) for i in range(100)]
    first, second = (split_groups(names, labels, seed) for seed in (0, 1))
    assert first != second
    for split in (first, second):
        assert sorted(split[97:99]) == ["test", "train"]
        assert split[99] == "train"


def test_only_validation_is_cut_without_a_test_share():
    found = Counter(split_groups([str(i) for i in range(50)], [0] * 50, 0, val=0.1, test=0))
    assert found == {"train": 45, "val": 5}


def test_shares_that_leave_no_training_images_are_refused():
    with pytest.raises(ValueError, match="sum below 1"):
        split_groups(["a"], [0], 0, val=0.5, test=0.5)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=150), seeds, st.data())
def test_subsets_are_nested_and_proportional(labels, seed, data):
    ids = [f"x/{i}" for i in range(len(labels))]
    small = data.draw(st.integers(1, len(ids)))
    large = data.draw(st.integers(small, len(ids)))
    a, b = (stratified_subset(ids, labels, limit, seed) for limit in (small, large))
    assert len(a) == small
    assert set(a) <= set(b)
    total, kept = Counter(labels), Counter(labels[i] for i in a)
    if small >= len(total):
        assert set(kept) == set(total)
    for c, n in total.items():
        # One image of each class comes first; the rest follows the shares.
        assert abs(kept[c] - n * small / len(ids)) <= len(total) + 1


@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), seeds, st.randoms())
def test_subsets_do_not_depend_on_order(labels, seed, random):
    pairs = [(f"x/{i}", c) for i, c in enumerate(labels)]
    limit = len(pairs) // 2

    def chosen(ordered):
        ids, classes = zip(*ordered, strict=True)
        return {ids[i] for i in stratified_subset(ids, classes, limit, seed)}

    before = chosen(pairs)
    random.shuffle(pairs)
    assert chosen(pairs) == before


def test_200_of_a_skewed_set():
    labels = [0] * 700 + [1] * 200 + [2] * 97 + [3] * 3
    ids = [str(i) for i in range(1000)]
    kept = Counter(labels[i] for i in stratified_subset(ids, labels, 200, 0))
    assert kept[3] == 1
    assert abs(kept[0] - 140) <= 2
    assert abs(kept[1] - 40) <= 2
    assert stratified_subset(ids, labels, None, 0) == list(range(1000))
    with pytest.raises(ValueError, match="limit is 0"):
        stratified_subset(ids, labels, 0, 0)
