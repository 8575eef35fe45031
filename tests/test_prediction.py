"""What answers are ranked by: log-odds that never saturate, and votes of which equal ones tie."""

import numpy as np
import pytest
import torch

from medrobust.defense.medrdf import MedRDF
from medrobust.defense.medrdf_seg import MedRDFSeg
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.defense.none import NoDefense
from medrobust.defense.randomized_smoothing import RandomizedSmoothing
from medrobust.prediction import Prediction, log_odds


@pytest.mark.parametrize("scale", [1.0, 30.0, 3000.0])
def test_log_odds_of_sure_answers_keep_their_digits(scale):
    logits = scale * torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    wide = logits.numpy().astype(np.longdouble)
    for own in range(4):
        others = np.logaddexp.reduce(np.delete(wide, own, axis=1), axis=1)
        wanted = (wide[:, own] - others).astype(np.float64)
        np.testing.assert_allclose(log_odds(logits)[:, own], wanted, rtol=1e-13, atol=1e-13)
    # Of two classes it is the difference, exactly.
    margins = log_odds(logits[:, :2])[:, 1]
    assert torch.equal(margins, logits[:, 1].double() - logits[:, 0].double())


@pytest.mark.parametrize(
    "vote",
    [
        MedRDF(GaussianNoise(), NoDefense(), copies=1000),
        MedRDFSeg(GaussianNoise(), NoDefense(), copies=1000),
        RandomizedSmoothing(0.25, 1000),
    ],
    ids=["medrdf", "medrdf_seg", "randomized_smoothing"],
)
def test_equal_shares_of_a_vote_tie_however_the_rest_voted(vote):
    counts = torch.tensor([[7, 3, 990], [7, 496, 497], [7, 993, 0], [8, 1, 991]])
    found: Prediction = vote.decide(counts)
    odds = found.log_odds[:, 0]
    assert odds[0] == odds[1] == odds[2] < odds[3]
    torch.testing.assert_close(found.log_odds, log_odds(found.logits), rtol=1e-4, atol=1e-4)
    assert torch.equal(found.rows(lambda value: value[2:]).log_odds, found.log_odds[2:])
