"""Worst case per image: closed forms, and no gain by luck."""

import numpy as np
import pytest
from scipy.stats import binomtest

from medrobust.metric.worst import worst_case


def test_of_a_deterministic_defense_it_is_what_withstands_every_attack() -> None:
    pgd, square, fgsm = (
        np.array([values], float) for values in ([1, 0, 0, 1, 1, 0], [1, 1, 0, 0, 1, 0], 6 * [1])
    )
    found = worst_case({"fgsm": fgsm, "pgd": pgd, "square": square}, seed=0)
    assert found.per_image.tolist() == [1, 0, 0, 0, 1, 0]
    assert found.value == 2 / 6
    span = binomtest(2, 6).proportion_ci(0.95, "wilson")
    assert found.interval == pytest.approx([span.low, span.high])
    assert found.by == {"pgd": 3, "square": 1}  # the first of the strongest, and what another adds


def test_degrees_and_clean_scores() -> None:
    one, other = np.array([[0.5, 0.9, 0.2]]), np.array([[0.7, 0.4, 0.2]])
    found = worst_case({"a": one, "b": other}, np.array([0.5, 0.9, 0.2]), seed=0)
    assert found.per_image.tolist() == [0.5, 0.4, 0.2]
    assert found.by == {"b": 1}
    assert found.interval[0] <= found.value <= found.interval[1]


@pytest.mark.parametrize("draws", [2, 3, 10])
def test_nine_attacks_on_random_answers_are_no_worse_than_one(draws: int) -> None:
    """Every answer is right with the image's own probability, whatever the attack."""
    generator = np.random.default_rng(0)
    share = generator.random(4000)
    scores = {
        f"attack {k}": (generator.random((draws, 4000)) < share).astype(float) for k in range(9)
    }
    found = worst_case(scores, seed=0)
    error = np.sqrt((share * (1 - share)).mean() / 4000)
    assert abs(found.value - share.mean()) < 4 * error
    naive = np.stack([values.mean(0) for values in scores.values()]).min(0).mean()
    assert naive < share.mean() - 10 * error  # what luck would have made of it


def test_of_a_randomized_defense_it_nears_the_smallest_share() -> None:
    generator = np.random.default_rng(1)
    share = np.stack([generator.random(2000), generator.random(2000)])
    for draws, within in ((4, 0.08), (64, 0.02)):
        answers = (generator.random((draws, 2, 2000)) < share).astype(float)
        found = worst_case({"a": answers[:, 0], "b": answers[:, 1]}, seed=0)
        assert 0 <= found.value - share.min(0).mean() + 0.01 < within + 0.01


def test_one_attack_is_its_own_worst_case() -> None:
    answers = (np.random.default_rng(2).random((5, 50)) < 0.5).astype(float)
    found = worst_case({"a": answers}, seed=0)
    assert found.value == pytest.approx(answers.mean())


def test_unlike_attacks_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one or more attacks with the same draws"):
        worst_case({"a": np.ones((1, 3)), "b": np.ones((1, 4))}, seed=0)
    with pytest.raises(ValueError, match="expected one or more attacks"):
        worst_case({}, seed=0)
