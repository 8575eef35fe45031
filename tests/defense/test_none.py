"""No defense changes nothing."""

import pytest
import torch

from medrobust.defense.none import NoDefense


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 3, 17, 23, generator=torch.Generator().manual_seed(0))


SEEDS = torch.arange(5)


def test_no_defense_is_the_identity(images):
    assert torch.equal(NoDefense().purify(images, seeds=SEEDS), images)
