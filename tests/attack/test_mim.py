import pytest
import torch
from torch import Tensor

from medrobust.attack.bim import BIM
from medrobust.attack.mim import MIM
from medrobust.threat.surrogate import VictimSurrogate


def test_without_memory_it_is_bim(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    attacks = BIM(0.02, steps=6), MIM(0.02, steps=6, decay=0.0), MIM(0.02, steps=6)
    bim, plain, momentum = (a(surrogate, images, labels, seeds=seeds) for a in attacks)
    assert torch.equal(bim, plain)
    assert not torch.equal(bim, momentum)


@pytest.mark.parametrize("decay", [-0.1, "x"])
def test_bad_decay(decay: float) -> None:
    with pytest.raises(ValueError, match=r"attack\.decay="):
        MIM(0.1, steps=2, decay=decay)
