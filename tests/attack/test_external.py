import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.base import AttackError
from medrobust.attack.external import External, LogitsModel
from medrobust.attack.fgsm import FGSM
from medrobust.prediction import Prediction
from medrobust.rng import uniform
from medrobust.threat.surrogate import Surrogate, VictimSurrogate


def sign_step(model: nn.Module, images: Tensor, labels: Tensor, *, size: float) -> Tensor:
    images.requires_grad_()
    nn.functional.cross_entropy(model(images), labels).backward()
    assert images.grad is not None
    return (images + size * images.grad.sign()).clamp(0, 1)


def noise(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    change = torch.rand_like(images) + torch.from_numpy(np.random.rand(*images.shape)).float()
    return (images + 0.01 * change).clamp(0, 1)


def test_any_callable(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    attack = External(sign_step, arguments={"size": 0.02}, eps=0.02)
    with torch.inference_mode():
        found = attack(surrogate, images, labels, seeds=seeds)
    ours = FGSM(0.02)(surrogate, images, labels, seeds=seeds)
    torch.testing.assert_close(found, ours, atol=1e-6, rtol=0)


def test_its_budget_is_verified(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    with pytest.raises(AttackError, match="broke its budget: linf"):
        External(sign_step, arguments={"size": 0.03}, eps=0.02)(
            surrogate, images, labels, seeds=seeds
        )
    with pytest.raises(AttackError, match="broke its budget: l2"):
        External(sign_step, arguments={"size": 0.03}, eps=0.02, norm="l2")(
            surrogate, images, labels, seeds=seeds
        )
    External(sign_step, arguments={"size": 0.9})(surrogate, images, labels, seeds=seeds)


def test_random_numbers_are_seeded_and_given_back(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    attack = External(noise)
    torch.manual_seed(3)
    np.random.seed(3)
    first = attack(surrogate, images, labels, seeds=seeds)
    after = torch.rand(2), np.random.rand(2), random.random()
    torch.manual_seed(3)
    np.random.seed(3)
    assert torch.equal(after[0], torch.rand(2))
    assert (after[1] == np.random.rand(2)).all()
    assert torch.equal(first, attack(surrogate, images, labels, seeds=seeds))
    assert not torch.equal(first, attack(surrogate, images, labels, seeds=seeds + 1))


def test_careless_callable_leaves_no_trace(
    surrogate: VictimSurrogate,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
    wrap: Callable[..., VictimSurrogate],
) -> None:
    def careless(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        assert not model.training
        model.train()
        return sign_step(model, images, labels, size=0.0)

    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(), nn.Flatten(), nn.Linear(400, 3))
    own = wrap(network)
    own.victim.requires_grad_(True)
    modes = [module.training for module in own.modules()]
    External(careless)(own, images, labels, seeds=seeds)
    assert all(p.grad is None and p.requires_grad for p in own.victim.parameters())
    assert modes == [module.training for module in own.modules()]


def test_random_surrogate_gets_fresh_noise_each_call() -> None:
    class Noisy(Surrogate):
        @property
        def fingerprint(self) -> str:
            return "noisy"

        def forward(self, x: Tensor, seeds: Tensor, taps: object = ()) -> Prediction:
            return Prediction(uniform(seeds, (3,)))

    model = LogitsModel(Noisy(), torch.arange(4))
    x = torch.zeros(6, 1, 2, 2)  # another number of images than in the batch
    first, second = model(x), model(x)
    assert len(torch.cat([first, second]).unique(dim=0)) == 12


def test_paths() -> None:
    path = "medrobust.attack.external.foolbox_attack"
    one = External(path, arguments={"steps": 3}, eps="8/255")
    assert one.fingerprint != External(path, arguments={"steps": 4}, eps="8/255").fingerprint
    for wrong in ("nowhere.at.all", "medrobust.attack.external.missing", "plain"):
        with pytest.raises(ValueError, match="nothing can be imported"):
            External(wrong)
    with pytest.raises(TypeError, match=r"External\.call is a function"):
        _ = External(noise).fingerprint
    with pytest.raises(ValueError, match=r"attack\.norm='l0'"):
        External(noise, norm="l0")
