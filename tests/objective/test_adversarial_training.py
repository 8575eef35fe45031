import torch
from torch import nn
from torch.nn.functional import cross_entropy

from medrobust.model.core.victim import Victim
from medrobust.objective.adversarial_training import AdversarialTraining


def linear() -> Victim:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    return Victim(net, mean=[0.5] * 3, std=[0.5] * 3, architecture={}).train()


X = 0.3 + 0.4 * torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, 1, 2])


def test_the_loss_of_a_linear_classifier_of_two_classes_is_known() -> None:
    # With two classes the worst x' in the ball is x - eps sign(w_y - w_other), whatever the start.
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    victim = Victim(net, mean=[0.5] * 3, std=[0.5] * 3, architecture={}).train()
    y, eps = Y % 2, 8 / 255
    rows = net[1].weight.detach()
    worst = X - eps * (rows[y] - rows[1 - y]).sign().view_as(X)
    expected = cross_entropy(victim(worst), y)
    loss = AdversarialTraining().loss(victim, X, y, seeds=torch.arange(6))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_cross_entropy_on_the_crafted_images() -> None:
    victim, objective, seeds = linear(), AdversarialTraining(), torch.arange(6)
    crafted = objective.craft(victim, X, Y, seeds=seeds)
    weights = list(victim.parameters())
    expected = torch.autograd.grad(cross_entropy(victim(crafted), Y), weights)
    found = torch.autograd.grad(objective.loss(victim, X, Y, seeds=seeds), weights)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
