"""`medrobust.evaluate`: any network in memory, judged as the command line judges its own."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import medrobust
from medrobust.attack import PGD, UAP, Square
from medrobust.data import MedMNIST
from medrobust.defense import JPEG, Median, MedRDF
from medrobust.defense.noise import GaussianNoise
from medrobust.model.core.error import VictimError
from medrobust.result.store import RowStore
from medrobust.threat import Adaptive
from tests.support.here import run_here


class Net(nn.Module):
    """Convolution, batch norm and dropout: what depends on the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(32, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    made = Net()
    made.head[-1].weight.data *= 30
    return made.train()


@pytest.fixture(scope="module")
def data(net: Net) -> tuple[Tensor, Tensor]:
    x = torch.rand(30, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    frozen = copy.deepcopy(net).eval()
    with torch.no_grad():
        return x, frozen(x).argmax(1)


def state(model: nn.Module) -> list[object]:
    flags = [module.training for module in model.modules()]
    grads = [(weight.requires_grad, weight.grad) for weight in model.parameters()]
    return [flags, grads, [value.tolist() for value in model.state_dict().values()]]


def test_the_row_says_what_an_own_computation_says(net: Net, data: tuple[Tensor, Tensor]) -> None:
    x, y = data
    attack = PGD(eps="8/255", steps=5)
    row = medrobust.evaluate(net, data, attack=attack)
    made = row.metrics
    assert made["clean_accuracy"] == 1
    assert 0 < made["accuracy"] < 1
    ids = [str(number) for number in range(len(x))]
    from medrobust.evaluation.stream import attacker_seeds

    adversarial = attack(net, x, y, seeds=attacker_seeds(0, ids))
    with torch.no_grad():
        right = (copy.deepcopy(net).eval()(adversarial).argmax(1) == y).double().mean().item()
    assert made["accuracy"] == right
    assert row.cell | {"objective": ""} == {
        "data": "tensors",
        "model": "Net",
        "objective": "",
        "threat": "oblivious",
        "surrogate": "",
        "attack": "pgd",
        "defense": "none",
    }
    assert row.n == 30
    low, high = row.intervals["accuracy"]
    assert low < right < high


@pytest.mark.parametrize(
    "defense", [None, JPEG(50), MedRDF(GaussianNoise(0.02), Median(3), copies=20)]
)
def test_forms_of_data_batch_size_and_repeats_change_nothing(
    net: Net, data: tuple[Tensor, Tensor], defense: medrobust.Defense | None
) -> None:
    before = state(net)
    loader = DataLoader(TensorDataset(*data), 7)
    images = medrobust.ImageSet.of(data)
    threat = Adaptive(eot_samples=2)
    found = [
        medrobust.evaluate(
            net,
            form,
            attack=PGD(eps="8/255", steps=2),
            defense=defense,
            threat=threat,
            batch_size=size,
        )
        for form, size in ((data, 128), (loader, 11), (images, 30))
    ]
    assert state(net) == before
    assert all(row.metrics == found[0].metrics and row.id == found[0].id for row in found)
    other = medrobust.evaluate(net, data, attack=PGD(eps="2/255", steps=2), defense=defense)
    assert other.id != found[0].id
    assert other.metrics["accuracy"] >= found[0].metrics["accuracy"]


def test_an_attack_on_a_network_is_that_on_its_frozen_copy(
    net: Net, data: tuple[Tensor, Tensor]
) -> None:
    x, y = data
    before, attack = state(net), PGD(eps="8/255", steps=3)
    made = attack(net, x, y)
    assert state(net) == before
    assert not made.requires_grad
    assert (made - x).abs().max() <= 8 / 255 + 1e-6
    frozen = copy.deepcopy(net).eval()
    assert torch.equal(made, attack(frozen, x, y))
    wrapped = medrobust.Victim(frozen, mean=[0.0] * 3, std=[1.0] * 3).freeze()
    assert torch.equal(made, attack(wrapped, x, y, seeds=torch.arange(len(x))))
    assert torch.equal(made[:4], attack(net, x[:4], y[:4]))


def test_numbers_equal_those_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"paths.root={tmp_path}", "trainer=cpu", "data=dermamnist", "data.phantom=true"]
    words += ["data.phantom_n=200", "logger=none"]
    train = ["trainer.max_epochs=1", "progress_bar=false"]
    assert run_here(monkeypatch, "train.py", *words, *train) == 0
    cell = ["attack=pgd", "attack.steps=4", "defense=jpeg", "threat=adaptive", "seed=3"]
    assert run_here(monkeypatch, "evaluate.py", *words, *cell) == 0
    (row,) = RowStore(tmp_path / "outputs/rows").rows()
    source = MedMNIST(
        tmp_path / "data/dermamnist",
        tmp_path / "data/manifests",
        name="dermamnist",
        phantom=True,
        phantom_n=200,
    )
    (path,) = (tmp_path / "checkpoints").rglob("seed_0.ckpt")
    victim = medrobust.load_victim(path)
    attack, defense = PGD(eps="8/255", steps=4), JPEG(75)
    called = medrobust.evaluate(
        victim, source, attack=attack, defense=defense, threat="adaptive", seed=3
    )
    assert called.metrics == row.metrics
    assert called.intervals == row.intervals
    assert called.checks == row.checks
    frame = medrobust.load_rows(tmp_path / "outputs/rows")
    assert frame.loc[row.id, "accuracy"] == row.metrics["accuracy"]
    assert frame.loc[row.id, "accuracy_low"] == row.intervals["accuracy"][0]
    assert list(frame.attack) == ["pgd"]


def test_what_is_kept(net: Net, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    for _ in range(2):
        medrobust.evaluate(net, data, attack=PGD(eps="8/255", steps=1), cache=tmp_path)
    kept = sorted(path.name for path in tmp_path.glob("??/*.safetensors"))
    assert len(kept) == 3  # the set, the answers to it, and to the clean images


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"attack": "pgd"}, TypeError, r"attack is 'pgd', expected a medrobust\.Attack such as"),
        ({"defense": "jpeg"}, TypeError, r"defense is 'jpeg', expected a medrobust\.Defense"),
        ({"threat": "white"}, ValueError, "threat='white', expected oblivious, adaptive, blackbox"),
        ({"attack": UAP(eps="8/255", epochs=1)}, ValueError, "without a train split.*datamodule"),
    ],
    ids=["attack", "defense", "threat", "learns"],
)
def test_wrong_parts(net: Net, data: tuple[Tensor, Tensor], change, error, message) -> None:
    with pytest.raises(error, match=message):
        medrobust.evaluate(net, data, **change)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda x, y: (x * 255, y), r"images span .*, expected \[0, 1\]"),
        (lambda x, y: ((x * 255).byte(), y), r"images are torch\.uint8 .*expected floating point"),
        (lambda x, y: (x, y.float()), "labels are torch.float32"),
        (lambda x, y: (x, y[:3]), "3 labels for 30 images"),
        (lambda x, y: (x, y + 2), "are none of the 3 classes"),
        (lambda x, y: [], "hold no image"),
        (lambda x, y: (x[:, :1], y), r"Net fails on images \(2, 1, 12, 12\)"),
    ],
)
def test_wrong_data(net: Net, data: tuple[Tensor, Tensor], changed, message: str) -> None:
    with pytest.raises((ValueError, VictimError), match=message):
        medrobust.evaluate(net, changed(*data), attack=PGD(eps="8/255", steps=1))


@pytest.mark.parametrize(
    "model", [nn.Identity(), nn.Flatten(0), nn.Sequential(nn.Flatten(), nn.LSTM(432, 3))]
)
def test_answers_that_are_no_logits(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(VictimError, match=r"answers .*, expected logits \(N, K\)"):
        medrobust.evaluate(model, data)
    with pytest.raises(VictimError, match=r"answers .*, expected logits \(N, K\)"):
        PGD(eps="8/255", steps=1)(model, *data)


def test_a_black_box_counts_its_queries(net: Net, data: tuple[Tensor, Tensor]) -> None:
    attack = Square(eps="16/255", queries=30)
    row = medrobust.evaluate(net, data, attack=attack, defense=JPEG(60), threat="blackbox")
    assert 1 <= row.metrics["queries_mean"] <= 30
