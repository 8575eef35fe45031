from types import SimpleNamespace

import pytest
import torch
from sklearn.metrics import roc_auc_score

from medrobust.data.core.dataset import Sample
from medrobust.defense.core.checkpoint import MissingDefenseError
from medrobust.defense.core.detector import Detector
from medrobust.defense.layer_regression import LayerRegression
from medrobust.defense.network.mlp import MLP
from medrobust.number import NumberError
from medrobust.training.defense.train import TrainingSetup
from tests.support.clinic import TAPS, check_bits, check_gradient, clinic


def regression(**settings) -> LayerRegression:
    return LayerRegression("lr", "nowhere.ckpt", **{"taps": TAPS, "hidden": 64} | settings)


def begun(**settings) -> LayerRegression:
    """Built, with weights as drawn."""
    detector = regression(**settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        detector.inspect_victim(clinic().victim, clinic().data)
        detector.build(3)
    return detector


def module_of(detector: LayerRegression):
    setup = TrainingSetup(
        clinic().data, torch.optim.Adam, None, seed=0, recipe={}, victim=clinic().victim
    )
    return detector.training_module(setup)


def batch(x, y) -> Sample:
    return Sample(x, y, [f"x/{i}" for i in range(len(x))])


@pytest.fixture(scope="module")
def trained() -> LayerRegression:
    detector = begun()
    module = module_of(detector).train()
    optimizer = torch.optim.Adam(module.trained(), lr=3e-3)
    train = clinic().data.dataset("train")
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        for part in torch.randperm(len(train), generator=generator).split(60):
            optimizer.zero_grad()
            module.loss(batch(train.images[part], train.labels[part])).backward()
            optimizer.step()
    detector.meta = SimpleNamespace()
    detector.eval().requires_grad_(False)
    Detector.fit(detector, clinic().victim, clinic().data)
    return detector


def test_attacked_images_score_higher(trained):
    victim, _, clean, _, attacked, seeds = clinic()
    with torch.no_grad():
        low, high = (trained(x, victim, seeds=seeds).score for x in (clean, attacked))
    assert high.mean() > low.mean()
    assert roc_auc_score([0] * len(low) + [1] * len(high), torch.cat([low, high])) > 0.8


def test_learning_lowers_the_error_of_images_it_has_not_seen(trained):
    _, _, clean, labels, *_ = clinic()
    fresh = module_of(begun().eval()).eval()
    with torch.no_grad():
        before = fresh.loss(batch(clean, labels))
        after = module_of(trained).eval().loss(batch(clean, labels))
    assert after < 0.5 * before


def test_the_target_feeds_the_classifier():
    detector = begun()
    assert detector.taps == (*TAPS, "7")  # the flattened map before the linear layer
    assert detector.network.last.out_features == 256
    assert begun(target="6").network.last.out_features == 16
    assert begun(grid=3).network.first.in_features == 9 * (8 + 16)
    assert "taps" in detector.settings
    assert tuple(detector.settings["taps"]) == TAPS  # found anew for each victim: no setting


def test_wrongly_classified_images_teach_nothing():
    _, _, clean, labels, *_ = clinic()
    module = module_of(begun().eval()).eval()
    wrong = (labels + 1) % 3
    half = torch.cat([labels[:30], wrong[30:]])
    with torch.no_grad():
        found = module.loss(batch(clean, half))
        right = clinic().victim(clean[:30]).argmax(1) == labels[:30]
        expected = module.loss(batch(clean[:30][right], labels[:30][right]))
        torch.testing.assert_close(found, expected)
    loss = module.loss(batch(clean, wrong))
    assert loss < 1e-3
    loss.backward()  # nothing to learn, and no error


def test_error_is_the_mean_square():
    detector, (victim, _, clean, *_) = begun().eval(), clinic()
    _, features = victim.features(clean, [*TAPS, "7"])
    maps = [torch.nn.functional.adaptive_avg_pool2d(features[tap], 2).flatten(1) for tap in TAPS]
    with torch.no_grad():
        expected = (detector.network(torch.cat(maps, 1)) - features["7"]).square().mean(1)
        seen = detector.observe(clean, victim, seeds=torch.arange(len(clean)))
        torch.testing.assert_close(detector.anomaly(seen), expected)


def test_gradient_is_the_derivative(trained):
    check_gradient(trained)


def test_same_bits_in_any_batch(trained):
    check_bits(trained)


def test_mlp_is_three_linear_layers():
    network = MLP(5, 3, 7).eval()
    x = torch.rand(40, 5)
    hidden = network.scale(x)
    for layer in (network.first, network.second):
        hidden = layer(hidden).relu()
    torch.testing.assert_close(network(x), network.last(hidden))


def test_bad_input():
    victim, data, *_ = clinic()
    with pytest.raises(MissingDefenseError, match=r"medrobust train defense=lr data=toy"):
        regression().fit(victim, data)
    with pytest.raises(ValueError, match=r"defense\.taps is empty"):
        regression(taps=()).inspect_victim(victim, data)
    with pytest.raises(KeyError, match=r"no tap \['layer1'\]"):
        regression(taps=("layer1",)).inspect_victim(victim, data)
    for settings in ({"grid": 0}, {"hidden": 0}):
        with pytest.raises(NumberError, match=r"defense\.(grid|hidden)"):
            regression(**settings)
