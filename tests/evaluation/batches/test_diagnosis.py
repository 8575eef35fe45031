"""A cell that cannot be computed says which images of which batch."""

import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.bim import BIM
from medrobust.attack.core.base import AttackError
from medrobust.attack.deepfool import DeepFool
from medrobust.attack.fgsm import FGSM
from medrobust.attack.none import NoAttack
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.core.base import Defense
from medrobust.defense.none import NoDefense
from medrobust.evaluation.adversarial import adversarial_set
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.predict import answers
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.threat.oblivious import Oblivious
from tests.support.helpers import small_cnn

CPU = torch.device("cpu")


class Odd(nn.Module):
    """Mean of each colour as a logit; NaN, in value or in gradient, where the image is bright."""

    def __init__(self, in_value: bool) -> None:
        super().__init__()
        self.in_value = in_value

    def forward(self, x: Tensor) -> Tensor:
        bright = x.mean(dim=(1, 2, 3)) > 0
        zero = torch.where(bright, 0.0, 1.0)[:, None] * x.mean(dim=(2, 3)).abs()
        # Where bright: sqrt(0) is 0, and its gradient 0 * infinity; or 0 / 0.
        more = zero / zero if self.in_value else zero.sqrt()
        return x.mean(dim=(2, 3)) + more


def odd(in_value: bool) -> Victim:
    network = Odd(in_value)
    architecture = {"kind": "odd", "in_value": in_value}
    return Victim(network, mean=[0.5] * 3, std=[0.5] * 3, architecture=architecture).freeze()


@pytest.fixture
def cache(tmp_path) -> TensorCache:
    return TensorCache(tmp_path)


@pytest.fixture
def clean() -> ImageSet:
    """Ten grey images, of which number 5 and 6 are bright."""
    images = torch.full((10, 3, 8, 8), 0.25)
    images[5:7] = 0.75
    return ImageSet(images, torch.zeros(10, dtype=torch.int64), tuple(f"s/{i}" for i in range(10)))


@pytest.mark.parametrize("in_value", [True, False], ids=["logits", "gradients"])
def test_nan_of_the_surrogate_is_found_whatever_the_attack(cache, clean, in_value):
    surrogate = Oblivious()(odd(in_value), NoDefense())
    named = r"(logits|gradients) are NaN or infinite for 2 of 4 images of batch 1: s/5, s/6$"
    with pytest.raises(FloatingPointError, match=named):
        adversarial_set(surrogate, NoAttack(), clean, Runner(CPU, 4, cache), seed=0, quantize=False)
    # The attack meets it first. Whichever way it fails, the batch's images are named.
    with pytest.raises((AttackError, FloatingPointError), match=r"batch.*s/4.*s/5.*s/6.*s/7"):
        adversarial_set(surrogate, FGSM(0.1), clean, Runner(CPU, 4, cache), seed=0, quantize=False)
    assert cache.keys() == []


@pytest.mark.parametrize(
    ("attack", "place"),
    [
        (BIM(0.1, steps=3), r"\[1\] of batch 0, which holds s/0"),
        (DeepFool(), r"\[0\] of batch 1, which holds s/4"),  # one step suffices per batch
    ],
    ids=["bim", "deepfool"],
)
def test_nan_gradients_on_the_way_are_found_though_the_end_is_sound(cache, clean, attack, place):
    """An attack leaves the clean point, meets NaN at its second look, and would stand still."""

    class Brief(Odd):
        looks = 0

        def forward(self, x: Tensor) -> Tensor:
            x = x.clone()
            if x.requires_grad:
                type(self).looks += 1
                if self.looks == 2:
                    x.register_hook(lambda grad: grad * torch.nan)
            return x.mean(dim=(2, 3))

    kind = {"kind": "brief"}
    half = [0.5] * 3
    victim = Victim(Brief(False), mean=half, std=half, architecture=kind).freeze()
    surrogate = Oblivious()(victim, NoDefense())
    with pytest.raises(FloatingPointError, match=f"NaN at gradient steps {place}"):
        adversarial_set(surrogate, attack, clean, Runner(CPU, 4, cache), seed=0, quantize=False)
    assert cache.keys() == []
    adversarial_set(surrogate, attack, clean, Runner(CPU, 4, cache), seed=0, quantize=False)


def test_nan_of_the_victim_names_batch_and_images(cache, clean):
    with pytest.raises(FloatingPointError, match=r"2 of 4 images of batch 1: s/5, s/6$"):
        answers(NoDefense(), odd(True), clean, Runner(CPU, 4, cache), seed=0)
    assert cache.keys() == []


class Picky(Defense):
    def __init__(self, alone: bool) -> None:
        super().__init__()
        self.alone = alone

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        if (x > 0.5).any() and (self.alone or len(x) > 1):
            raise KeyError("too bright")
        return Prediction(victim(x))


@pytest.mark.parametrize(
    ("alone", "note"),
    [
        (True, "Picky raised for images: s/5, s/6"),
        (False, "Picky raised for these images together, none alone: s/4, s/5, s/6, s/7"),
    ],
)
def test_a_defense_that_raises_names_its_images(cache, clean, alone, note):
    with pytest.raises(KeyError, match="too bright") as caught:
        answers(Picky(alone), small_cnn(), clean, Runner(CPU, 4, cache), seed=0)
    assert caught.value.__notes__ == [note]


class Scorer(Defense):
    """A detector whose score of bright images is no number."""

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        bright = (x > 0.5).flatten(1).any(1)
        return Prediction(victim(x), score=torch.where(bright, torch.nan, 0.0))


def test_nan_of_a_detectors_score_names_batch_and_images(cache, clean):
    message = r"the detector's scores are NaN or infinite for 2 of 4 images of batch 1: s/5, s/6$"
    with pytest.raises(FloatingPointError, match=message):
        answers(Scorer(), small_cnn(), clean, Runner(CPU, 4, cache), seed=0)
