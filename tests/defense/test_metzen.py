import copy
from types import SimpleNamespace

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from medrobust.attack.bim import BIM
from medrobust.attack.fgsm import FGSM
from medrobust.data.core.dataset import Sample
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.core.checkpoint import MissingDefenseError
from medrobust.defense.core.detector import Detector, UnfittedDetectorError
from medrobust.defense.metzen import Metzen
from medrobust.defense.network.map_classifier import MapClassifier, as_maps
from medrobust.number import NumberError
from medrobust.training.defense.train import TrainingSetup
from tests.support.clinic import TAPS, check_bits, check_gradient, clinic


def metzen(**settings) -> Metzen:
    defaults = {"taps": TAPS, "attack": BIM(16 / 255, steps=4), "width": 0.1}
    return Metzen("dnn", "nowhere.ckpt", **defaults | settings)


def taught(epochs: int = 4, **settings) -> Metzen:
    """Trained by a plain loop over the training split, then fitted."""
    victim, data, *_ = clinic()
    detector = metzen(**settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        detector.inspect_victim(victim, data)
        detector.build(3)
        setup = TrainingSetup(data, torch.optim.Adam, None, seed=0, recipe={}, victim=victim)
        module = detector.training_module(setup).train()
        optimizer = torch.optim.Adam(module.trained(), lr=5e-3)
        train = data.dataset("train")
        ids = [entry.id for entry in train.entries]
        for _ in range(epochs):
            for part in torch.randperm(len(train)).split(60):
                names = [ids[i] for i in part.tolist()]
                optimizer.zero_grad()
                module.loss(Sample(train.images[part], train.labels[part], names)).backward()
                optimizer.step()
    detector.meta = SimpleNamespace()
    detector.eval().requires_grad_(False)
    return detector


def fitted(detector: Metzen) -> Metzen:
    Detector.fit(detector, clinic().victim, clinic().data)
    return detector


@pytest.fixture(scope="module")
def trained() -> Metzen:
    return fitted(taught())


def test_attacked_images_score_higher(trained):
    victim, _, clean, _, attacked, seeds = clinic()  # attacked by PGD, learned from BIM
    with torch.no_grad():
        low, high = (trained(x, victim, seeds=seeds).score for x in (clean, attacked))
    assert high.mean() > low.mean()
    assert roc_auc_score([0] * len(low) + [1] * len(high), torch.cat([low, high])) > 0.9


def test_the_sum_of_what_each_layer_says(trained):
    victim, _, clean, _, _, seeds = clinic()
    with torch.no_grad():
        logits = trained.logits(trained.observe(clean, victim, seeds=seeds))
        assert logits.shape == (len(clean), len(TAPS))
        _, features = victim.features(clean, TAPS)
        for layer, (tap, network) in enumerate(zip(TAPS, trained.networks, strict=True)):
            torch.testing.assert_close(logits[:, layer], network(features[tap]))
        found = trained(clean, victim, seeds=seeds)
    torch.testing.assert_close(found.score, logits.sum(1))


def test_layers_learn_by_themselves():
    """The loss of one layer's network has no gradient for another's weights."""
    victim, data, clean, labels, *_ = clinic()
    detector = metzen()
    detector.inspect_victim(victim, data)
    detector.build(3)
    setup = TrainingSetup(data, torch.optim.Adam, None, seed=0, recipe={}, victim=victim)
    module = detector.training_module(setup).train()
    ids = [f"x/{i}" for i in range(len(clean))]
    batch = Sample(clean, labels, ids)
    module.loss(batch).backward()
    assert all(weight.grad is not None for weight in detector.parameters())
    assert all(weight.grad is None for weight in victim.parameters())
    one = metzen(taps=TAPS[:1])
    one.inspect_victim(victim, data)
    one.build(3)
    one.networks[0].load_state_dict(detector.networks[0].state_dict())
    twin = TrainingSetup(data, torch.optim.Adam, None, seed=0, recipe={}, victim=victim)
    one.training_module(twin).train().loss(batch).backward()
    pairs = zip(one.networks[0].parameters(), detector.networks[0].parameters(), strict=True)
    assert all(torch.allclose(a.grad / 2, b.grad, atol=1e-6) for a, b in pairs)


def test_measures_are_the_same_every_time_and_training_draws_anew(trained):
    victim, data, clean, labels, *_ = clinic()
    setup = TrainingSetup(data, torch.optim.Adam, None, seed=0, recipe={}, victim=victim)
    module = copy.deepcopy(trained).training_module(setup).eval()
    batch = Sample(clean, labels, [f"x/{i}" for i in range(len(clean))])
    with torch.no_grad():
        first, again = module.measure(batch), module.measure(batch)
    assert first["loss"] == again["loss"]
    assert first["accuracy"] > 0.8


def test_gradient_is_the_derivative(trained):
    check_gradient(trained)


def test_same_bits_in_any_batch(trained):
    check_bits(trained)


def test_it_is_trained_behind_its_cushion():
    detector = fitted(taught(epochs=1, cushion=BitDepth(2)))
    victim, _, clean, _, _, seeds = clinic()
    with torch.no_grad():
        found = detector(clean, victim, seeds=seeds)
        cushioned = BitDepth(2).purify(clean, seeds=seeds)
    assert torch.equal(found.logits, victim(cushioned))
    assert detector.training_settings["cushion"]["bits"] == 2
    assert "tnr" not in detector.training_settings
    assert detector.training_settings["attack"] != metzen(attack=FGSM(8 / 255)).settings["attack"]


@pytest.mark.parametrize(("side", "pools"), [(64, 2), (32, 2), (31, 1), (16, 1), (8, 0), (1, 0)])
def test_pools_down_to_the_papers_resolutions(side, pools):
    network = MapClassifier((5, side, side), (4, 6, 6))
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in network) == pools
    assert network(torch.rand(3, 5, side, side)).shape == (3,)


def test_published_size():
    network = MapClassifier((16, 32, 32))
    convolutions = [layer for layer in network if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [96, 192, 192, 1]


def test_vectors_are_maps_of_one_pixel():
    network = MapClassifier((7,), (4, 6, 6)).eval()
    x = torch.rand(5, 7)
    assert torch.equal(as_maps(x)[:, :, 0, 0], x)
    assert network(as_maps(x)).shape == (5,)


def test_untrained_unfitted_and_without_taps(tmp_path):
    victim, data, clean, _, _, seeds = clinic()
    with pytest.raises(MissingDefenseError, match=r"medrobust train defense=dnn data=toy"):
        metzen().fit(victim, data)
    with pytest.raises(UnfittedDetectorError):
        taught(epochs=0)(clean, victim, seeds=seeds)
    with pytest.raises(ValueError, match=r"defense\.taps is empty; name layers out of \['0'"):
        metzen(taps=()).inspect_victim(victim, data)
    with pytest.raises(KeyError, match=r"no tap \['layer1'\]"):
        metzen(taps=("layer1",)).inspect_victim(victim, data)
    with pytest.raises(NumberError, match=r"defense\.width"):
        metzen(width=0)
