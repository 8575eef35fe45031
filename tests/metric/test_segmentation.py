"""What a row says of masks: means, intervals, abstention, and when an attack has won."""

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score

from medrobust.metric.segmentation import measure_segmentation
from medrobust.prediction import Answers

GENERATOR = torch.Generator().manual_seed(0)
FOUND, WANTED = torch.randint(0, 3, (2, 30, 9, 11), generator=GENERATOR)


def answers(label: torch.Tensor, abstain: torch.Tensor | None = None, **more) -> Answers:
    return Answers(label, None, None, None, abstain, 0.0)._replace(**more)


def measure(wanted, clean, attacked, classes=2, **more):
    return measure_segmentation(wanted, clean, attacked, classes=classes, seed=0, **more)


def halves(count: int) -> torch.Tensor:
    """Masks whose upper half is foreground."""
    wanted = torch.zeros(count, 4, 4, dtype=torch.int64)
    wanted[:, :2] = 1
    return wanted


def test_a_row_has_means_of_the_images_and_their_intervals():
    measured = measure(WANTED, answers(WANTED), answers(FOUND), classes=3)
    each = [
        f1_score(a.flatten(), b.flatten(), labels=[1, 2], average="macro")
        for a, b in zip(WANTED, FOUND, strict=True)
    ]
    assert measured.values["dice"] == pytest.approx(np.mean(each))
    assert measured.per_image is not None
    np.testing.assert_allclose(measured.per_image["dice"], each)
    expected = balanced_accuracy_score(WANTED.flatten(), FOUND.flatten())
    assert measured.values["mean_accuracy"] == pytest.approx(expected)
    assert measured.values["clean_dice"] == measured.values["clean_mean_accuracy"] == 1
    assert set(measured.intervals) == set(measured.values)
    for name, (low, high) in measured.intervals.items():
        assert low <= measured.values[name] <= high, name
    low, high = measured.intervals["dice"]
    spread = np.std(each) / len(each) ** 0.5  # of a mean, by the normal law
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.3)


def test_attack_success_counts_lost_images_only():
    wanted = halves(4)
    clean, attacked = wanted.clone(), wanted.clone()
    clean[3] = 0  # was wrong before: not the attack's doing
    attacked[2:] = 0
    values = measure(wanted, answers(clean), answers(attacked)).values
    assert values["attack_success_rate"] == pytest.approx(1 / 3)
    assert values["dice"] == pytest.approx(0.5)
    assert values["jaccard"] == pytest.approx(0.5)
    assert values["clean_dice"] == pytest.approx(0.75)
    assert values["pixel_accuracy"] == pytest.approx(0.75)
    assert values["mean_accuracy"] == pytest.approx(0.75)


@pytest.mark.parametrize(("level", "lost"), [(0.5, 0.0), (0.51, 1.0), (0.2, 0.0)])
def test_the_level_decides_who_is_lost(level, lost):
    wanted = halves(3)
    attacked = wanted.clone()
    attacked[:, 0] = 0  # half of the foreground: Jaccard 1/2
    values = measure(wanted, answers(wanted), answers(attacked), level=level).values
    assert values["attack_success_rate"] == lost


def test_abstained_pixels_are_in_no_class():
    wanted = halves(1)
    silent = torch.zeros(1, 4, 4, dtype=torch.bool)
    silent[:, 0] = True  # half of the foreground
    silent[:, 3, :2] = True  # and two pixels of background
    values = measure(wanted, answers(wanted), answers(wanted, silent)).values
    assert values["abstention_rate"] == pytest.approx(6 / 16)
    assert values["pixel_accuracy"] == pytest.approx(10 / 16)
    assert values["mean_accuracy"] == pytest.approx((4 / 8 + 6 / 8) / 2)
    assert values["dice"] == pytest.approx(2 * 4 / (4 + 8))
    assert values["jaccard"] == pytest.approx(4 / 8)
    assert values["dice_vote"] == values["jaccard_vote"] == values["clean_dice"] == 1


def test_a_refused_image_abstains_with_every_pixel():
    wanted, refused = halves(2), torch.tensor([True, False])
    values = measure(wanted, answers(wanted), answers(wanted, refused)).values
    assert values["abstention_rate"] == values["dice"] == values["pixel_accuracy"] == 0.5
    assert values["attack_success_rate"] == 0.5


def test_what_the_defense_says_of_each_image_is_averaged():
    wanted = halves(2)
    seen = answers(
        wanted,
        confidence=torch.tensor([1.0, 2.0]),
        details={"rm_robust": torch.tensor([0.25, 0.75])},
    )
    values = measure(wanted, answers(wanted), seen).values
    assert (values["robust_metric"], values["rm_robust"]) == (1.5, 0.5)
