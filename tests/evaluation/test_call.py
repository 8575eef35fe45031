"""`medrobust.evaluate`: any network in memory, judged as the command line judges its own."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import medrobust
from medrobust.attack import FGSM, PGD, UAP, Square
from medrobust.data import MedMNIST
from medrobust.defense import JPEG, Median, MedRDF, RandomResizePad
from medrobust.defense.noise import GaussianNoise
from medrobust.model.core.error import VictimError
from medrobust.result.store import RowStore
from medrobust.threat import Adaptive, Transfer
from tests.support.helpers import check_equal
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
    assert made["accuracy"] < 1
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
    assert low <= right <= high


@pytest.mark.by_default("None")
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
    for row in found[1:]:
        assert row.id == found[0].id
        check_equal(row.metrics, found[0].metrics)
    other = medrobust.evaluate(net, data, attack=PGD(eps="2/255", steps=2), defense=defense)
    assert other.id != found[0].id
    assert other.metrics["accuracy"] >= found[0].metrics["accuracy"] - 0.15


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
    words += ["data.phantom_n=200", "logger=none", "model=resnet18", "model.network=test_resnet"]
    train = ["trainer.max_epochs=1", "progress_bar=false"]
    assert run_here(monkeypatch, "train.py", *words, *train) == 0
    cell = ["attack=pgd", "attack.steps=4", "defense=jpeg", "threat=adaptive", "seed=3"]
    cell += ["operating_point=9/10"]
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
        *(victim, source),
        attack=attack,
        defense=defense,
        threat="adaptive",
        seed=3,
        operating_point=0.9,
    )
    assert "sensitivity_at_operating_point" in row.metrics
    assert called.metrics == row.metrics
    assert called.intervals == row.intervals
    assert called.checks == row.checks
    frame = medrobust.load_rows(tmp_path / "outputs/rows")
    assert frame.loc[row.id, "accuracy"] == row.metrics["accuracy"]
    assert frame.loc[row.id, "accuracy_low"] == row.intervals["accuracy"][0]
    assert list(frame.attack) == ["pgd"]
    record = medrobust.load_images(tmp_path / "outputs/rows")
    assert record.correct.mean() == row.metrics["accuracy"]
    assert record.clean_correct.mean() == row.metrics["clean_accuracy"]
    drawn = ["attack=fgsm", "defense=random_resize_pad", "seed=3", "defender_draws=3"]
    assert run_here(monkeypatch, "evaluate.py", *words, *drawn) == 0
    store = RowStore(tmp_path / "outputs/rows")
    (row,) = (one for one in store.rows() if one.cell["attack"] == "fgsm")
    called = medrobust.evaluate(
        *(victim, source),
        attack=FGSM(eps="8/255"),
        defense=RandomResizePad(),
        seed=3,
        defender_draws=3,
    )
    assert called.metrics == row.metrics
    assert called.intervals == row.intervals
    assert called.config["defender_draws"] == row.config["defender_draws"] == 3
    record = medrobust.load_images(store.folder, [row.id])
    assert record.correct.mean() == pytest.approx(row.metrics["accuracy"])
    assert (record.correct == 1).mean() == pytest.approx(row.metrics["accuracy_worst_draw"])


def test_what_is_kept(net: Net, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    for _ in range(2):
        medrobust.evaluate(net, data, attack=PGD(eps="8/255", steps=1), cache=tmp_path)
    kept = sorted(path.name for path in tmp_path.glob("??/*.safetensors"))
    assert len(kept) == 3  # the set, the answers to it, and to the clean images


class Scaled(nn.Module):
    """A network with a plain attribute, which no list of weights holds."""

    def __init__(self, network: nn.Module, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) * self.factor


def test_what_no_weight_shows_makes_another_row(
    net: Net, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    def run(model: nn.Module) -> medrobust.Row:
        return medrobust.evaluate(model, data, attack=PGD(eps="8/255", steps=1), cache=tmp_path)

    frozen = copy.deepcopy(net).eval()
    hooked = copy.deepcopy(frozen)
    hooked.register_forward_hook(lambda module, inputs, output: -output)
    patched = copy.deepcopy(frozen)
    patched.forward = lambda x: -2 * frozen(x)  # type: ignore[method-assign]
    models = [frozen, Scaled(frozen, 1.0), Scaled(frozen, -1.0), hooked, patched]
    rows = [run(model) for model in models]
    assert [row.metrics["clean_accuracy"] > 0.9 for row in rows] == [True, True, *[False] * 3]
    assert len({row.id for row in rows}) == len(rows)
    victim = medrobust.Victim(copy.deepcopy(frozen), mean=[0.0] * 3, std=[1.0] * 3)
    assert run(victim).metrics["clean_accuracy"] == 1
    victim.network.head[-1].weight.data.neg_()  # unseen by autograd's counter
    victim.network.head[-1].bias.data.neg_()
    assert run(victim).metrics["clean_accuracy"] < 0.9


def test_the_surrogate_of_a_transfer_is_the_one_of_now(
    net: Net, data: tuple[Tensor, Tensor]
) -> None:
    inner = Net().eval()
    threat = Transfer(medrobust.Victim(inner, mean=[0.0] * 3, std=[1.0] * 3).freeze())
    attack = PGD(eps="16/255", steps=2)
    before = medrobust.evaluate(net, data, attack=attack, threat=threat)
    inner.load_state_dict(net.state_dict())
    inner.head[-1].bias.data.add_(0.01)
    after = medrobust.evaluate(net, data, attack=attack, threat=threat)
    fresh = Transfer(medrobust.Victim(copy.deepcopy(inner), mean=[0.0] * 3, std=[1.0] * 3).freeze())
    expected = medrobust.evaluate(net, data, attack=attack, threat=fresh)
    assert after.metrics == expected.metrics
    assert after.id == expected.id != before.id


def test_an_edited_set_and_autocast_and_inference_mode(
    net: Net, data: tuple[Tensor, Tensor]
) -> None:
    attack = PGD(eps="8/255", steps=2)
    plain = medrobust.evaluate(net, data, attack=attack)
    with torch.autocast("cpu", torch.bfloat16):
        assert medrobust.evaluate(net, data, attack=attack).checks == plain.checks
    with torch.inference_mode():
        assert medrobust.evaluate(net, data, attack=attack).metrics == plain.metrics
        inside = attack(net, *data)
    assert torch.equal(inside, attack(net, *data))
    images = medrobust.ImageSet.of((data[0], data[1].clone()))
    first = medrobust.evaluate(net, images)
    images.labels.copy_((images.labels + 1) % 3)
    second = medrobust.evaluate(net, images)
    assert first.id != second.id
    assert second.metrics["clean_accuracy"] == 0


def test_ids_of_a_loader(net: Net, data: tuple[Tensor, Tensor]) -> None:
    x, y = data
    numbered = medrobust.ImageSet.of(DataLoader(TensorDataset(x, y, torch.arange(len(x))), 7))
    assert numbered.ids == medrobust.ImageSet.of(data).ids
    for third, message in (
        (torch.zeros(len(x), dtype=torch.int64), "1 different ids for 30 images"),
        (torch.rand(len(x), 2), "expected an id"),
        (["a", "b"], "2 different ids for 30 images"),
    ):
        with pytest.raises(ValueError, match=message):
            medrobust.ImageSet.of([(x, y, third)])


def test_networks_without_a_fixed_answer_are_refused(data: tuple[Tensor, Tensor]) -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)) + torch.randn(len(x), 3)

    with pytest.raises(VictimError, match="otherwise when it is asked again"):
        medrobust.evaluate(Noisy(), data)
    coupled = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), Net())
    with pytest.raises(VictimError, match="in a batch of its own"):
        medrobust.evaluate(coupled, data)


def test_the_images_of_the_caller_stay(net: Net, data: tuple[Tensor, Tensor]) -> None:
    frozen = copy.deepcopy(net).eval()

    class Greedy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return frozen(x.mul_(0.5))

    x = data[0].clone()
    PGD(eps="8/255", steps=1)(Greedy(), x, data[1])
    medrobust.evaluate(Greedy(), (x, data[1]))
    assert torch.equal(x, data[0])


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_a_wrong_batch_size(net: Net, data: tuple[Tensor, Tensor], size: float) -> None:
    with pytest.raises(ValueError, match="batch_size="):
        medrobust.evaluate(net, data, batch_size=size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"attack": "pgd"}, TypeError, r"attack is 'pgd', expected a medrobust\.Attack such as"),
        ({"defense": "jpeg"}, TypeError, r"defense is 'jpeg', expected a medrobust\.Defense"),
        ({"quantize": "no"}, TypeError, r"quantize is 'no', expected true or false \(bool\)"),
        ({"seed": -1}, ValueError, "seed=-1 is out of range; expected at least 0 and at most"),
        ({"seed": 2**63}, ValueError, "seed=9223372036854775808 is out of range"),
        ({"seed": [1, 2]}, ValueError, r"seed=\[1, 2\] is not an integer; expected one whole"),
        ({"threat": "white"}, ValueError, "threat='white', expected oblivious, adaptive, blackbox"),
        ({"attack": UAP(eps="8/255", epochs=1)}, ValueError, "without a train split.*datamodule"),
    ],
    ids=["attack", "defense", "quantize", "negative", "large", "list", "threat", "learns"],
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
        (lambda x, y: (x[:0], y[:0]), "hold no image"),
        (lambda x, y: x.numpy(), "hold a ndarray, expected"),
        (lambda x, y: [{"image": x, "label": y}], "hold a dict, expected"),
        (lambda x, y: None, "hold no image"),
        (lambda x, y: (x[:, :1], y), r"Net fails on torch\.float32 images \(8, 1, 12, 12\)"),
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
    assert 1 <= row.metrics["queries_mean"] < 31


@pytest.mark.parametrize("model", [lambda x: x.mean(dim=(2, 3)), nn.Identity])
def test_a_model_is_a_module(model, data: tuple[Tensor, Tensor]) -> None:
    message = r"the model is a (function|class Identity), expected an object of torch\.nn\.Module; "
    with pytest.raises(VictimError, match=message):
        medrobust.evaluate(model, data)
    with pytest.raises(VictimError, match=message):
        PGD(eps="8/255", steps=1)(model, *data)


def test_a_victim_of_grey_images_names_its_mean(net: Net, data: tuple[Tensor, Tensor]) -> None:
    victim = medrobust.Victim(net, mean=[0.5], std=[0.5])
    with pytest.raises(
        VictimError, match=r"C in \[1\], as mean and std have; .* one number per ch"
    ):
        medrobust.evaluate(victim, data)
    with pytest.raises(ValueError, match=r"mean=0\.5, std=0\.5: expected a number per channel"):
        medrobust.Victim(net, mean=0.5, std=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["images", "labels", "seeds"])
def test_what_is_no_tensor_is_named(name: str, net: Net, data: tuple[Tensor, Tensor]) -> None:
    given = {"images": data[0][:2], "labels": data[1][:2], "seeds": torch.arange(2)}
    x, y, seeds = (value.tolist() if key == name else value for key, value in given.items())
    with pytest.raises(TypeError, match=rf"PGD: {name} is of type list .*torch\.as_tensor\({name}"):
        PGD(eps="8/255", steps=1)(net, x, y, seeds=seeds)  # type: ignore[arg-type]


def test_a_folder_without_rows_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no row .*medrobust evaluate"):
        medrobust.load_rows(tmp_path)


def test_draws_make_another_row_of_a_randomized_defense_alone(
    net: Net, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    def run(defense: medrobust.Defense, draws: int) -> medrobust.Row:
        attack = PGD(eps="8/255", steps=1)
        return medrobust.evaluate(
            net, data, attack=attack, defense=defense, defender_draws=draws, cache=tmp_path
        )

    one, five = run(JPEG(50), 1), run(JPEG(50), 5)
    assert (five.id, five.config, five.metrics) == (one.id, one.config, one.metrics)
    one, five = run(RandomResizePad(), 1), run(RandomResizePad(), 5)
    assert five.id != one.id
    assert five.config == one.config | {"defender_draws": 5}
    assert five.fingerprints.items() > one.fingerprints.items()
    with pytest.raises(ValueError, match="defender_draws=0"):
        run(JPEG(50), 0)
