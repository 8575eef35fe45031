"""Every objective and every learned defense, trained by Lightning on the device for an epoch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from torch.utils.data import DataLoader

from medrobust.defense.core.base import Defense
from medrobust.defense.core.feature import Features
from medrobust.defense.core.learned import Learned
from medrobust.logger.null import NullLogger
from medrobust.model.core.victim import Victim
from medrobust.objective.standard import Standard
from medrobust.training.defense.train import train_defense
from medrobust.training.victim.train import train
from tests.defense.test_suite import CLASSES, CONF, NAMES, configs, draw, learns, toy_victim
from tests.defense.test_suite import build as as_drawn
from tests.device.conftest import Entry
from tests.support.clinic import SplitData
from tests.support.device.compare import check_close, moved
from tests.support.helpers import small_cnn
from tests.training.conftest import Data, classifier, segmenter
from tests.training.victim.test_box_detector import detector

pytestmark = [
    pytest.mark.device,
    # What PyTorch says of its own mean squared error where it has no kernel of the device.
    pytest.mark.filterwarnings("ignore:An output with one or more elements was resized"),
]

TASKS = {"dice_ce": "segmentation", "retinanet": "detection"}
"""Tasks of the objectives that are not for classification."""
NETWORKS = {"classification": classifier, "segmentation": segmenter, "detection": detector}
OBJECTIVES = sorted(path.stem for path in (CONF / "objective").glob("*.yaml"))
CASES = [(name, TASKS.get(name, "classification")) for name in OBJECTIVES]
CASES += [("standard", "segmentation"), ("trades", "segmentation")]
BALANCED = ["standard", "adversarial_training", "mart", "trades"]


def how(device: torch.device, checkpoint: Path, epochs: int = 1) -> dict[str, Any]:
    """Arguments of every training on a device."""
    trainer = {
        "cpu": {"accelerator": "cpu"},
        "fake": {"accelerator": "fake", "strategy": "fake"},
        "cuda": {"accelerator": "gpu"},
    }[device.type]
    return {
        # `foreach` is what PyTorch chooses on a CPU; elsewhere its sums are in another order.
        "optimizer": lambda weights: torch.optim.Adam(weights, lr=0.01, foreach=False),
        "scheduler": None,
        "trainer": {**trainer, "devices": 1, "max_epochs": epochs},
        "logger": NullLogger(),
        "checkpoint": checkpoint,
        "seed": 0,
        "progress_bar": False,
    }


@pytest.fixture
def both(device: torch.device, tmp_path: Path) -> list[tuple[torch.device, Path]]:
    """The CPU and the device, with a checkpoint each."""
    return [(torch.device("cpu"), tmp_path / "cpu.ckpt"), (device, tmp_path / "device.ckpt")]


def check_weights(paths: list[tuple[torch.device, Path]], fake: bool) -> None:
    """Weights of both trainings are equal, or on a GPU of equal shapes."""
    first, second = (torch.load(path, weights_only=True)["state_dict"] for _, path in paths)
    assert first.keys() == second.keys()
    for name, value in second.items():
        if fake:  # a detector's threshold is not a number yet
            assert torch.equal(value.nan_to_num(), first[name].nan_to_num()), name
        assert value.shape == first[name].shape


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> set[torch.device]:
    """The devices of the weights that optimizers step."""
    found: set[torch.device] = set()
    step = torch.optim.Adam.step

    def watched(self: torch.optim.Adam, closure: Callable[[], float] | None = None) -> Any:
        loss = step(self, closure)
        weights = [weight for group in self.param_groups for weight in group["params"]]
        found.update(weight.grad.device for weight in weights if weight.grad is not None)
        return loss

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    return found


@pytest.mark.parametrize(
    ("objective", "task", "settings"),
    [(*case, []) for case in CASES]
    + [(name, "classification", ["objective.class_balanced=true"]) for name in BALANCED]
    + [("standard", "segmentation", ["objective.class_balanced=true"])],
)
def test_objective(
    objective: str,
    task: str,
    settings: list[str],
    device: torch.device,
    both: list[tuple[torch.device, Path]],
    seen: set[torch.device],
    entry: Entry,
) -> None:
    entry("training", f"objectives, {task}")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+objective={objective}", *settings]).objective
    for node in (config, config.get("objective")):
        for key in {"steps", "val_steps"} & (node or {}).keys():
            node[key] = 2
    scores = []
    for place, path in both:
        meta = train(
            model=NETWORKS[task],
            data=Data(task),
            objective=instantiate(config),
            recipe={"model": {"name": "tiny"}},
            **how(place, path),
        )
        scores.append(meta.scores)
    assert seen == {torch.device("cpu"), device}
    check_weights(both, device.type == "fake")
    assert scores[0].keys() == scores[1].keys()
    assert device.type != "fake" or scores[0] == scores[1]


class PowerCut(Standard):
    """Stops in the second epoch."""

    batches = 6

    def loss(self, *args: Any, **kwargs: Any) -> Tensor:
        if self.batches == 0:
            raise KeyError("power cut")
        self.batches -= 1
        return super().loss(*args, **kwargs)


def test_a_training_is_resumed(device: torch.device, tmp_path: Path) -> None:
    prints = []
    for name, objective in (("whole", Standard()), ("cut", PowerCut()), ("cut", Standard())):
        arguments = how(device, tmp_path / name / "victim.ckpt", epochs=2)
        call = {"model": classifier, "data": Data(), "recipe": {"model": {"name": "tiny"}}}
        if isinstance(objective, PowerCut):
            with pytest.raises(KeyError):
                train(objective=objective, **call, **arguments)
            continue
        prints.append(train(objective=objective, **call, **arguments).scores)
    if device.type == "fake":
        assert prints[0] == prints[1]


class Loaders(SplitData):
    """Images of 16 pixels for the toy victim, in splits and batches."""

    key = "toy"
    batch_size = 8
    num_classes = CLASSES
    classes = tuple("abcd")

    def __init__(self) -> None:
        super().__init__(
            {
                split: (draw(count, 3, 16, 16)[0], torch.arange(count) % CLASSES)
                for split, count in (("train", 32), ("val", 16), ("test", 16))
            }
        )

    def _loader(self, split: str) -> DataLoader[Any]:
        return DataLoader(self.dataset(split), self.batch_size)  # type: ignore[arg-type]

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader("test")


class OfToy(Features):
    """Features of the toy victim, in the place of a trained checkpoint's."""

    def network(self, data: Any) -> Victim:
        return moved(toy_victim(), torch.device("cpu"))


SMALL = {"patch_px": 16, "critic_blocks": 2, "warm_epochs": 1, "q": 2, "depth": 3}
TRAINED = [(name, {}) for name in NAMES if learns(as_drawn(name))]
TRAINED += [("layer_regression", {"target": None, "taps": ["1"]}), ("nrp", {"dynamic": True})]


def learned(name: str, settings: dict[str, Any], checkpoint: Path) -> Defense:
    """The config's defense, small, untrained."""
    config = OmegaConf.create(OmegaConf.to_container(configs()[name]) | settings)
    for node in (config, config.get("denoiser"), (config.get("denoiser") or {}).get("estimator")):
        for key in SMALL.keys() & (node or {}).keys():
            node[key] = SMALL[key]
        if node is not None and "checkpoint" in node:
            node["checkpoint"] = str(checkpoint)
    if name == "nrp":
        config.pop("features")
        return instantiate(config, features=OfToy("act"))
    return instantiate(config)


@pytest.mark.parametrize(("name", "settings"), TRAINED)
def test_defense(
    name: str,
    settings: dict[str, Any],
    device: torch.device,
    both: list[tuple[torch.device, Path]],
    seen: set[torch.device],
    entry: Entry,
) -> None:
    """A trained defense is loaded by `fit` on the device, and answers as on the CPU."""
    entry("training", "learned defenses")
    answers: list[Tensor] = []
    bare = small_cnn() if "target" in settings else toy_victim()  # the toy has one layer alone
    x, seeds = draw(4, 3, 16, 16)
    for place, path in both:
        train_defense(
            defense=lambda path=path: learned(name, settings, path),
            victim=lambda: moved(bare, torch.device("cpu")),
            data=Loaders(),
            recipe={},
            **how(place, path, epochs=2),
        )
        victim, defense = moved(bare, place), learned(name, settings, path).to(place)
        defense.fit(victim, Loaders())
        assert any(isinstance(part, Learned) for part in defense.modules())
        with torch.no_grad():
            answers.append(defense(x.to(place), victim, seeds=seeds.to(place)).logits)
    assert seen == {torch.device("cpu"), device}
    check_weights(both, device.type == "fake")
    if device.type == "fake":
        check_close(answers[1], answers[0], device)
