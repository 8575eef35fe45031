"""Splits and subsets that depend on a seed and on names, never on file order.

Every choice is an ordering by the hash `rank(seed, id)`, so that listing files in another order, or
on another system, gives the same split.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final, Literal, get_args

Split = Literal["train", "val", "test"]
SPLITS: Final[tuple[Split, ...]] = get_args(Split)


def rank(seed: int, name: str) -> int:
    """Return a 64-bit hash of a name under a seed; sorting by it is a seeded shuffle."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest())


def split_groups(
    groups: Sequence[str],
    labels: Sequence[int | None],
    seed: int,
    *,
    val: float = 0.1,
    test: float = 0.1,
) -> list[Split]:
    """Draw a stratified split that keeps each group (patient, lesion) in one split.

    A group counts as its rarest class, so that rare classes are spread first. In each class, groups
    go to test until its share is reached, then to val, then to train. A class whose share rounds to
    zero still gets one group in each part, if train keeps one.

    Args:
        groups: group of each sample.
        labels: class of each sample; None throughout for segmentation.
        seed: changes which groups go where.
        val: share of validation samples, in [0, 1).
        test: share of test samples, in [0, 1); 0 cuts only a validation set.

    Returns:
        The split of each sample, in the order given.

    Raises:
        ValueError: lengths differ, or the shares leave nothing for training.
    """
    if len(groups) != len(labels):
        raise ValueError(f"{len(groups)} groups but {len(labels)} labels")
    if min(val, test) < 0 or val + test >= 1:
        raise ValueError(f"val={val} and test={test}: expected shares >= 0 with a sum below 1")
    frequency = Counter(labels)
    members: dict[str, list[int | None]] = defaultdict(list)
    for group, label in zip(groups, labels, strict=True):
        members[group].append(label)
    strata: dict[int | None, list[str]] = defaultdict(list)
    for group, inside in members.items():
        strata[min(inside, key=lambda c: (frequency[c], -1 if c is None else c))].append(group)

    chosen: dict[str, Split] = {}
    for inside_class in strata.values():
        todo = sorted(inside_class, key=lambda g: (rank(seed, g), g))
        total = sum(len(members[g]) for g in todo)
        for part, share in (("test", test), ("val", val)):
            want = max(1, round(share * total)) if share > 0 else 0
            while want > 0 and len(todo) > 1:
                group = todo.pop(0)
                chosen[group] = part  # type: ignore[assignment]
                want -= len(members[group])
        chosen.update(dict.fromkeys(todo, "train"))
    return [chosen[group] for group in groups]


def stratified_subset(
    ids: Sequence[str], labels: Sequence[int | None], limit: int | None, seed: int
) -> list[int]:
    """Return positions of at most `limit` samples, proportional by class, nested in `limit`.

    The samples are put in one order whose every prefix is stratified: first one sample of each
    class (the most frequent first), then each class spread evenly. A subset of 100 is therefore
    contained in the subset of 200.

    Args:
        ids: unique names of the samples.
        labels: class of each sample; None throughout for segmentation.
        limit: maximum number of samples; None, or more than there are, for all.
        seed: changes which samples are drawn.

    Returns:
        Positions in ascending order.

    Raises:
        ValueError: `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}, expected a number of images >= 1, or null for all")
    if limit is None or limit >= len(ids):
        return list(range(len(ids)))
    of_class: dict[int | None, list[int]] = defaultdict(list)
    for position, label in enumerate(labels):
        of_class[label].append(position)
    order: list[tuple[float, int, int]] = []
    for positions in of_class.values():
        positions.sort(key=lambda p: rank(seed, ids[p]))
        count = len(positions)
        for place, position in enumerate(positions):
            # The first of a class has minus the class's size, which sorts before every share.
            key = -float(count) if place == 0 else (place + 0.5) / count
            order.append((key, rank(seed, ids[position]), position))
    return sorted(position for _, _, position in sorted(order)[:limit])
