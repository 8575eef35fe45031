"""AG-Sononet-16: its attention against slow NumPy, its shapes, and what a victim must do."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.ndimage import map_coordinates
from torch import Tensor, nn

from medrobust.model.ag_sononet import build
from medrobust.model.core.attention import GridAttention, Share
from medrobust.model.core.checkpoint import VictimMeta, load_victim, save_victim
from medrobust.model.core.victim import Victim
from medrobust.number import NumberError

ROOT = Path(__file__).parents[2]
MAPS = ["attention3.map", "attention4.map"]


def make(num_classes: int = 7, **changes: object) -> Victim:
    torch.manual_seed(0)
    config = OmegaConf.load(ROOT / "conf" / "model" / "ag_sononet16.yaml")
    victim = instantiate(OmegaConf.merge(config, changes), num_classes=num_classes).train()
    for _ in range(3):  # batch norms that do something
        victim(torch.rand(8, victim.channels, 28, 28))
    return victim.freeze()


def resized(small: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Bilinear, pixel centres aligned, edges repeated."""
    height, width = small.shape
    row = (np.arange(rows) + 0.5) * height / rows - 0.5
    column = (np.arange(columns) + 0.5) * width / columns - 0.5
    return map_coordinates(small, np.meshgrid(row, column, indexing="ij"), order=1, mode="nearest")


def test_attention_is_the_equation() -> None:
    torch.manual_seed(0)
    gate = GridAttention(channels=3, gating=5, inner=4).double()
    x = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    g = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    found, share = gate(x, g).detach().numpy(), gate.map(torch.zeros(1, 1, 2, 2))
    assert torch.equal(share, torch.full((1, 1, 2, 2), 0.25))
    theta, phi = (m.weight.detach().numpy()[:, :, 0, 0] for m in (gate.theta, gate.phi))
    psi, bias = gate.psi.weight.detach().numpy()[0, :, 0, 0], gate.psi.bias.item()
    for n in range(2):
        seen = np.einsum("ic,chw->ihw", theta, x[n].numpy())
        gating = np.einsum("ic,chw->ihw", phi, g[n].numpy())
        gating = np.stack([resized(layer, 6, 8) for layer in gating])
        score = np.einsum("i,ihw->hw", psi, np.maximum(seen + gating, 0)) + bias
        weight = (score - score.min()) / (score - score.min()).sum()
        expected = (weight * x[n].numpy()).sum(axis=(1, 2))
        np.testing.assert_allclose(found[n], expected, rtol=1e-4, atol=1e-6)


def test_a_flat_score_attends_everywhere_alike() -> None:
    score = torch.full((2, 1, 5, 3), 7.0, requires_grad=True)
    share = Share()(score)
    torch.testing.assert_close(share, torch.full((2, 1, 5, 3), 1 / 15))
    share.square().sum().backward()
    assert score.grad.isfinite().all()


def test_sixteen_filters_and_twelve_convolutions_as_published() -> None:
    victim = make()
    blocks = [getattr(victim.network, f"block{i}") for i in range(1, 6)]
    kernels = [[m for m in block if isinstance(m, nn.Conv2d)] for block in blocks]
    assert [len(found) for found in kernels] == [3, 3, 3, 2, 2]
    assert [found[-1].out_channels for found in kernels] == [16, 32, 64, 128, 128]
    convolutions = sum(9 * m.in_channels * m.out_channels for found in kernels for m in found)
    per_channel = 3 * sum(m.out_channels for found in kernels for m in found)
    gates = 128 * (64 + 128 + 1) + 1 + 128 * (128 + 128 + 1) + 1
    assert sum(weight.numel() for weight in victim.parameters()) == (
        convolutions + per_channel + gates + 7 * (64 + 128 + 128) + 7
    )


@pytest.mark.by_default(
    "1-1-third4-fourth4", "28-28-third0-fourth0", "45-33-third2-fourth2", "8-8-third3-fourth3"
)
@pytest.mark.parametrize(
    ("height", "width", "third", "fourth"),
    [(28, 28, (7, 7), (4, 4)), (224, 224, (56, 56), (28, 28)), (45, 33, (12, 9), (6, 5)),
     (8, 8, (2, 2), (1, 1)), (1, 1, (1, 1), (1, 1))],
)  # fmt: skip
def test_maps_are_taps_and_sum_to_one(
    height: int, width: int, third: tuple[int, int], fourth: tuple[int, int]
) -> None:
    victim = make()
    x = torch.rand(2, 3, height, width)
    logits, seen = victim.features(x, MAPS)
    assert logits.shape == (2, 7)
    torch.testing.assert_close(logits, victim(x))
    assert set(MAPS) <= set(victim.taps)
    for name, grid in zip(MAPS, (third, fourth), strict=True):
        assert seen[name].shape == (2, 1, *grid)
        assert seen[name].min() >= 0
        torch.testing.assert_close(seen[name].sum(dim=(1, 2, 3)), torch.ones(2))


def test_the_gate_depends_on_the_fifth_block_and_gradients_reach_the_image() -> None:
    victim = make()
    x = torch.rand(3, 3, 28, 28, requires_grad=True)
    _, seen = victim.features(x, MAPS)
    (slope,) = torch.autograd.grad(seen["attention3.map"].square().sum(), x)
    assert slope.abs().amax(dim=(1, 2, 3)).min() > 0
    with torch.no_grad():
        victim.network.block5[0].weight.mul_(-1)
    _, other = victim.features(x, MAPS)
    assert not torch.allclose(other["attention3.map"], seen["attention3.map"])


def test_grey_images_two_ways() -> None:
    grey = torch.rand(3, 1, 28, 28)
    repeated = make()
    torch.testing.assert_close(repeated(grey), repeated(grey.expand(-1, 3, -1, -1)))
    assert make(in_channels=1)(grey).shape == (3, 7)


def gradient(victim: Victim, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(victim(x).logsumexp(1).sum(), x)[0]


@pytest.mark.by_default("28")
@pytest.mark.parametrize("side", [28, 64])
def test_the_fast_copy_is_equal_and_has_no_batch_norm(side: int) -> None:
    # In float64, where rounding does not move an activation across the kink of a ReLU.
    victim, x = make().double(), torch.rand(17, 3, side, side, dtype=torch.float64)
    plain, slope = victim(x), gradient(victim, x)
    victim.accelerate()
    torch.testing.assert_close(victim(x), plain)
    torch.testing.assert_close(gradient(victim, x), slope)
    single = victim.float().accelerate()(x.float())
    torch.testing.assert_close(single, plain.float(), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in victim._fast[0].modules())


@pytest.mark.parametrize("fast", [False, True])
def test_an_image_has_the_same_bits_in_any_batch(fast: bool) -> None:
    victim, x = make(), torch.rand(20, 3, 28, 28)
    if fast:
        victim.accelerate()
    whole, slope = victim(x), gradient(victim, x)
    parts = x.split([1, 3, 7, 9])
    assert torch.equal(torch.cat([victim(part) for part in parts]), whole)
    assert torch.equal(torch.cat([gradient(victim, part) for part in parts]), slope)


def test_a_checkpoint_builds_it_again(tmp_path: Path) -> None:
    victim = make(4, width=8)
    meta = VictimMeta(
        data="toy", data_key="toy", data_digest="0", phantom=True, task="classification",
        classes=list("abcd"), seed=0, epochs=1, best_epoch=0,
    )  # fmt: skip
    save_victim(tmp_path / "victim.ckpt", victim, meta)
    loaded = load_victim(tmp_path / "victim.ckpt", train_command="")
    x = torch.rand(2, 3, 28, 28)
    assert torch.equal(loaded(x), victim(x))
    assert loaded.fingerprint == victim.fingerprint


@pytest.mark.parametrize(
    ("wrong", "name"), [({"width": 0}, "width"), ({"in_channels": 0}, "in_channels"),
                        ({"drop_rate": 2}, "drop_rate")],
)  # fmt: skip
def test_impossible_numbers_are_refused(wrong: dict[str, int], name: str) -> None:
    with pytest.raises(NumberError, match=rf"model\.{name}="):
        build(3, name="ag", **wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "floor"),
    [(["trainer.max_epochs=6", "data.batch_size=32"], 0.5),
     (["recipe=medrdf", "trainer.max_epochs=3", "optimizer.lr=0.01"], 0.5)],
)  # fmt: skip
def test_it_learns_phantoms(recipe: list[str], floor: float, tmp_path: Path) -> None:
    command = [
        sys.executable, str(ROOT / "train.py"), "data=dermamnist", "data.phantom=true",
        "data.phantom_n=1000", "model=ag_sononet16", "trainer=cpu", "progress_bar=false",
        f"paths.root={tmp_path}", *recipe,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "checkpoints/dermamnist_28px_phantom/ag_sononet16/standard/seed_0.ckpt"
    scores = load_victim(path, train_command="").meta.scores
    assert scores["test/balanced_accuracy"] > floor  # chance: 1/7
