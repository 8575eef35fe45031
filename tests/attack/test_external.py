import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.core.base import AttackError
from medrobust.attack.core.norm import distance
from medrobust.attack.external import External, LogitsModel
from medrobust.attack.fgsm import FGSM
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.rng import uniform
from medrobust.threat.surrogate import Surrogate, VictimSurrogate
from tests.support.here import run_here


def sign_step(model: nn.Module, images: Tensor, labels: Tensor, *, size: float) -> Tensor:
    images.requires_grad_()
    nn.functional.cross_entropy(model(images), labels).backward()
    assert images.grad is not None
    return (images + size * images.grad.sign()).clamp(0, 1)


def noise(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    change = torch.rand_like(images) + torch.from_numpy(np.random.rand(*images.shape)).float()
    change *= random.random()
    return (images + 0.01 * change).clamp(0, 1)


def test_any_callable(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    attack = External(sign_step, arguments={"size": 0.02}, eps=0.02)
    with torch.inference_mode():
        found = attack(surrogate, images, labels, seeds=seeds)
    ours = FGSM(0.02)(surrogate, images, labels, seeds=seeds)
    same = (found - ours).abs() <= 1e-6  # else the gradient is nearly 0, and rounding chooses
    assert same.float().mean() > 0.999


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
    random.seed(3)
    first = attack(surrogate, images, labels, seeds=seeds)
    after = torch.rand(2), np.random.rand(2), random.random()
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    assert torch.equal(after[0], torch.rand(2))
    assert (after[1] == np.random.rand(2)).all()
    assert after[2] == random.random()
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
        next(model.children()).train()
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
    path = "medrobust.attack.adapter.foolbox.run"
    one = External(path, arguments={"steps": 3}, eps="8/255")
    assert one.fingerprint != External(path, arguments={"steps": 4}, eps="8/255").fingerprint
    for wrong in ("nowhere.at.all", "medrobust.attack.external.missing", "plain"):
        with pytest.raises(ValueError, match=r"attack\.call: nothing can be imported"):
            External(wrong)
    assert External(noise).fingerprint == External(noise).fingerprint
    assert External(noise).fingerprint != External(test_paths).fingerprint
    with pytest.raises(ValueError, match=r"attack\.norm='l0'"):
        External(noise, norm="l0")


def test_local_code_that_an_argument_names_is_part_of_it() -> None:
    made = External(
        noise, arguments={"attack": "tests.support.here.run_here", "kind": "torchattacks.PGD"}
    )
    assert made.computed_by == (External, noise, run_here)


def test_fractions_among_the_arguments_are_numbers() -> None:
    given = {"eps": "8/255", "alpha": ".5/255", "path": "a/b", "date": "1/2/3", "steps": 3}
    made = External(noise, arguments=given).arguments
    assert made == {"eps": 8 / 255, "alpha": 0.5 / 255, "path": "a/b", "date": "1/2/3", "steps": 3}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_it_sees_float32_and_returns_what_the_victim_takes(
    dtype: torch.dtype, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """Rounding to a coarser dtype goes toward the clean image, so it breaks no budget."""
    seen: set[torch.dtype] = set()

    def watched(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        seen.update((images.dtype, model(images).dtype))
        return sign_step(model, images, labels, size=0.02)

    own = VictimSurrogate(copy.deepcopy(victim).to(dtype))
    x = images.to(dtype)
    found = External(watched, eps=0.02)(own, x, labels, seeds=seeds)
    assert seen == {torch.float32}
    assert found.dtype == dtype
    assert (distance(x, found, "linf") <= 0.02 + 1e-6).all()
    assert (distance(x, found, "linf") > 0.015).all()


@pytest.mark.parametrize(
    ("returned", "what"), [(None, "NoneType"), (torch.zeros(1, 3, 12, 12), r"\(1, 3, 12, 12\)")]
)
def test_what_is_no_batch_of_images_is_refused(
    returned: Any, what: str, surrogate: VictimSurrogate, images: Tensor, seeds: Tensor
) -> None:
    y = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(AttackError, match=f"returned {what}, expected a tensor of images"):
        External(lambda *_: returned)(surrogate, images[:3], y, seeds=seeds[:3])


@pytest.mark.parametrize("fast", [False, True])
def test_the_victim_cannot_be_changed_through_the_model(
    fast: bool, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """Moving it would drop its faster copy, training mode would move its running statistics."""

    def meddling(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        model.to("cpu").double().train()
        assert not any(module.training for module in model.modules())
        images.requires_grad_()
        for weight in model.parameters():
            weight.requires_grad_(True)
        nn.functional.cross_entropy(model(images), labels).backward()
        reached.append(any(weight.grad is not None for weight in model.parameters()))
        return images

    reached: list[bool] = []
    own = copy.deepcopy(victim)
    if fast:
        own.accelerate()
    own.requires_grad_(True)
    kept = next(own.parameters())
    kept.grad = torch.ones_like(kept)
    state = {name: value.clone() for name, value in own.state_dict().items()}
    External(meddling)(VictimSurrogate(own), images[:8], labels[:8], seeds=seeds[:8])
    assert all(torch.equal(state[name], value) for name, value in own.state_dict().items())
    assert (kept.grad == 1).all()
    assert all(weight.grad is None for weight in list(own.parameters())[1:])
    assert reached == [not fast]  # the faster copy has weights of its own
    if fast:
        with own.reduced_precision():  # it still has its faster copy
            own(images)


def test_boxes_are_refused_and_a_library_that_knows_no_masks_is_named(
    surrogate: VictimSurrogate, images: Tensor, pixel_surrogate: VictimSurrogate
) -> None:
    boxes = torch.zeros(len(images), 1, 5)
    seeds = torch.arange(len(images))
    with pytest.raises(AttackError, match="is defined for classification and segmentation"):
        External(noise)(surrogate, images, boxes, seeds=seeds)

    def per_image(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return images + model(images)[range(len(images)), labels].view(-1, 1, 1, 1)

    x = torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(2, 6, 8, dtype=torch.int64)
    found = External(noise)(pixel_surrogate, x, masks, seeds=seeds[:2])
    assert found.shape == x.shape
    with pytest.raises(AttackError, match=r"attack\.call fails on masks \(2, 6, 8\) .*attack=pgd"):
        External(per_image)(pixel_surrogate, x, masks, seeds=seeds[:2])
