"""ResNet with a graph over the grades: what a victim must do."""

from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from medrobust.model.core.checkpoint import VictimMeta, load_victim, save_victim
from medrobust.model.core.victim import Victim
from medrobust.number import NumberError

CONF = Path(__file__).parents[2] / "conf" / "model"


def make(num_classes: int = 5, **changes: object) -> Victim:
    torch.manual_seed(0)
    config = OmegaConf.load(CONF / "resnet18_gcn.yaml")
    victim = instantiate(OmegaConf.merge(config, changes), num_classes=num_classes).train()
    for _ in range(2):  # batch norms that do something
        victim(torch.rand(8, victim.channels, 32, 32))
    return victim.freeze()


@pytest.fixture(scope="module")
def victim() -> Victim:
    return make()


def gradient(victim: Victim, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(victim(x).logsumexp(1).sum(), x)[0]


def test_accelerated_is_the_same_and_bit_equal_for_any_batch() -> None:
    victim = make()
    x = torch.rand(17, 3, 32, 32)
    plain, slope = victim(x), gradient(victim, x)
    victim.accelerate()
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in victim._fast[0].modules())
    whole, steep = victim(x), gradient(victim, x)
    torch.testing.assert_close(whole, plain, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(steep, slope, rtol=1e-3, atol=1e-5)
    for size in (1, 16):
        assert torch.equal(torch.cat([victim(part) for part in x.split(size)]), whole), size
        assert torch.equal(torch.cat([gradient(victim, part) for part in x.split(size)]), steep)


def test_logits_are_sums_of_the_pooled_features(victim: Victim) -> None:
    x = torch.rand(3, 3, 40, 40)
    logits, seen = victim.features(x, ["layer4", "global_pool"])
    pooled = seen["layer4"].mean((2, 3))
    torch.testing.assert_close(seen["global_pool"], pooled)
    torch.testing.assert_close(logits, pooled @ victim.network.fc.weights().T)


def test_it_learns_order(victim: Victim) -> None:
    torch.manual_seed(0)
    head = make(hidden=16).requires_grad_(True).network.fc
    x, y = torch.randn(60, 512), torch.arange(60) % 5
    x[torch.arange(60), y] += 4
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(150):
        loss = torch.nn.functional.cross_entropy(head(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (head(x).argmax(1) == y).double().mean() > 0.95


def test_saved_and_loaded(victim: Victim, tmp_path: Path) -> None:
    meta = VictimMeta(
        data="aptos2019",
        data_key="aptos2019_32px",
        data_digest="0" * 64,
        phantom=True,
        task="classification",
        classes=list("abcde"),
        seed=0,
        epochs=1,
        best_epoch=0,
        scores={},
    )
    save_victim(tmp_path / "v.ckpt", victim, meta)
    loaded = load_victim(tmp_path / "v.ckpt", train_command="")
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(x), victim(x))
    assert loaded.fingerprint == victim.fingerprint
    assert make(hidden=512).fingerprint != victim.fingerprint


def test_no_features_are_refused() -> None:
    with pytest.raises(InstantiationException, match=r"model\.hidden") as caught:
        make(hidden=0)
    assert isinstance(caught.value.__cause__, NumberError)
