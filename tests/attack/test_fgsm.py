import torch
from torch import Tensor

from medrobust.attack.bim import BIM
from medrobust.attack.fgsm import FGSM
from medrobust.threat.surrogate import VictimSurrogate


def test_is_one_full_step_by_plain_torch(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    leaf = images.clone().requires_grad_()
    torch.nn.functional.cross_entropy(surrogate.victim(leaf), labels).backward()
    assert leaf.grad is not None
    wanted = (images + 8 / 255 * leaf.grad.sign()).clamp(0, 1)
    found = FGSM("8/255")(surrogate, images, labels, seeds=seeds)
    same = (found - wanted).abs() <= 1e-6  # a gradient of 0 and a ReLU at 0 turn by rounding
    assert same.float().mean() > 0.999


def test_one_step_of_bim_is_fgsm(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    found = [a(surrogate, images, labels, seeds=seeds) for a in (FGSM(0.02), BIM(0.02, steps=1))]
    assert torch.equal(*found)


def test_costs_one_pass(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    passes: list[int] = []
    handle = surrogate.register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))
    FGSM(0.02)(surrogate, images, labels, seeds=seeds)
    handle.remove()
    assert passes == [len(images)]
