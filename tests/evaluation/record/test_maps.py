"""Maps of what the bare and the defended network look at."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medrobust.attack.none import NoAttack
from medrobust.attack.pgd import PGD
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.jpeg import JPEG
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.medrdf_seg import MedRDFSeg
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.defense.none import NoDefense
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import Result, evaluate
from medrobust.evaluation.record.maps import MapsRequest, bare_maps, defended_maps
from medrobust.evaluation.stream import defender_seeds
from medrobust.model.core.victim import Victim
from medrobust.result.arrays import ArraysError
from medrobust.result.maps import Maps
from medrobust.rng import fold_in
from medrobust.threat.oblivious import Oblivious
from tests.support.helpers import small_cnn

CPU = torch.device("cpu")
TAPS = ("1", "3")  # the two ReLU layers
IDS = tuple(f"set/{i}" for i in range(9))
IMAGES = torch.rand(9, 3, 8, 12, generator=torch.Generator().manual_seed(0))


def evaluated(tmp_path, defense) -> tuple[Cell, Result]:
    victim = small_cnn()
    clean = ImageSet(IMAGES, victim(IMAGES).argmax(1), IDS)
    surrogate = Oblivious()(victim, defense)
    attack = PGD(eps="16/255", steps=3)
    data = SimpleNamespace(classes=["a", "b", "c", "d"], graded=False)
    cell = Cell(victim, defense, surrogate, attack, clean, classes=4, data=data)
    return cell, evaluate(cell, Runner(CPU, 4, TensorCache(tmp_path / "cache")))


def record(tmp_path, defense, taps=TAPS, images=4) -> Maps:
    return MapsRequest(taps, images).record(*evaluated(tmp_path, defense), CPU)


def test_no_defense_has_the_victims_maps(tmp_path):
    maps = record(tmp_path, NoDefense())
    for side in (maps.clean, maps.adversarial):
        for tap in TAPS:
            assert side.victim[tap].any()
            np.testing.assert_allclose(side.defended[tap], side.victim[tap], atol=1e-6)
        assert np.array_equal(side.victim_label, side.defended_label)
        assert np.isnan(side.confidence).all()
    assert not np.array_equal(maps.clean.images, maps.adversarial.images)
    assert maps.clean.victim["1"].shape == (4, 8, 12)
    assert maps.clean.victim["3"].shape == (4, 4, 6)


def test_a_victims_map_is_the_mean_over_the_channels():
    maps = bare_maps(small_cnn(), IMAGES, TAPS)
    network = small_cnn().network
    seen = network[1](network[0]((IMAGES - 0.5) / 0.25))
    np.testing.assert_allclose(maps["1"], seen.mean(1).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_purifiers_map_is_that_of_the_purified_image():
    seeds = defender_seeds(0, IDS)
    found = defended_maps(small_cnn(), JPEG(30), IMAGES, TAPS, seeds=seeds)
    expected = bare_maps(small_cnn(), JPEG(30).purify(IMAGES, seeds=seeds), TAPS)
    for tap in TAPS:
        np.testing.assert_allclose(found[tap], expected[tap], atol=1e-6)
        assert not np.allclose(found[tap], bare_maps(small_cnn(), IMAGES, TAPS)[tap])


def test_a_votes_map_is_the_mean_over_its_copies():
    vote = MedRDF(GaussianNoise(0.2), Median(), copies=13, chunk=5)
    seeds = defender_seeds(0, IDS)
    found = defended_maps(small_cnn(), vote, IMAGES, TAPS, seeds=seeds)
    mean = {tap: np.zeros_like(found[tap], dtype=np.float64) for tap in TAPS}
    for number in range(13):  # copy by copy, all images at once
        copies = vote.sample(IMAGES, seeds=fold_in(seeds, number))
        for tap, part in bare_maps(small_cnn(), copies, TAPS).items():
            mean[tap] += part / 13
    for tap in TAPS:
        np.testing.assert_allclose(found[tap], mean[tap], rtol=1e-4, atol=1e-6)
        assert not np.allclose(found[tap], bare_maps(small_cnn(), IMAGES, TAPS)[tap], atol=1e-3)


def test_labels_and_confidence_are_the_rows_own(tmp_path):
    vote = MedRDF(GaussianNoise(0.3), Median(), copies=15)
    maps = record(tmp_path, vote)
    _, result = evaluated(tmp_path, vote)
    places = [IDS.index(name) for name in maps.ids]
    assert places == [0, 2, 5, 8]  # spread over the set
    for side, said in ((maps.clean, result.before), (maps.adversarial, result.after)):
        assert np.array_equal(side.defended_label, said.label[places])
        assert np.array_equal(side.confidence, said.confidence[places])
        assert np.array_equal(side.abstain, said.abstain[places])
    expected = np.round(IMAGES[2].numpy() * np.float32(255)).transpose(1, 2, 0)
    assert np.array_equal(maps.clean.images[1], expected)


def test_the_victim_is_left_as_it_was():
    victim = small_cnn().accelerate()
    before = victim(IMAGES)
    defended_maps(victim, NoDefense(), IMAGES, TAPS, seeds=defender_seeds(0, IDS))
    assert not victim._forward_hooks
    assert not any(module._forward_hooks for module in victim.network.modules())
    assert torch.equal(victim(IMAGES), before)


def test_written_and_read_back(tmp_path):
    maps = record(tmp_path, MedRDF(GaussianNoise(0.1), Median(), copies=5))
    path = tmp_path / "a.maps.npz"
    maps.write(path)
    first = path.read_bytes()
    maps.write(path)
    assert path.read_bytes() == first
    again = Maps.read(path)
    assert again is not None
    assert (again.ids, again.classes, again.taps) == (maps.ids, maps.classes, maps.taps)
    for name in ("images", "victim_label", "confidence", "abstain"):
        np.testing.assert_array_equal(
            getattr(again.adversarial, name), getattr(maps.adversarial, name)
        )
    np.testing.assert_array_equal(again.clean.defended["3"], maps.clean.defended["3"])


def test_what_is_wanted_is_compared_with_what_is_there(tmp_path):
    path = tmp_path / "a.maps.npz"
    assert not MapsRequest(TAPS, 4).met_by(path)
    record(tmp_path, NoDefense()).write(path)
    assert MapsRequest(TAPS, 4).met_by(path)
    assert not MapsRequest(TAPS, 5).met_by(path)
    assert not MapsRequest(("1",), 4).met_by(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert not MapsRequest(TAPS, 4).met_by(path)
    with pytest.raises(ArraysError, match=r"a\.maps\.npz is damaged.*run its cell again"):
        Maps.read(path)
    assert Maps.read(tmp_path / "none") is None


def test_more_images_than_there_are(tmp_path):
    maps = record(tmp_path, NoDefense(), taps=(), images=100)
    assert maps.ids == IDS
    assert maps.clean.victim == {}


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ([], r"maps=\[\]; expected null or"),
        ({"taps": ["a"]}, r"expected null or \{taps"),
        ({"taps": "layer1", "images": 2}, r"maps\.taps='layer1'; expected a list"),
        ({"taps": [], "images": 0}, r"maps\.images=0"),
    ],
)
def test_bad_requests(node, message):
    with pytest.raises(ValueError, match=message):
        MapsRequest.parse(node)
    assert MapsRequest.parse(None) is None


def test_what_cannot_be_recorded_is_refused(tmp_path):
    victim = small_cnn()
    with pytest.raises(ValueError, match=r"maps\.taps=\['head'\]: the victim has only \['0'"):
        MapsRequest(("head",), 1).check(victim)
    with pytest.raises(ValueError, match=r"'6' gives \(9, 4\), expected maps"):
        bare_maps(victim, IMAGES, ["6"])


class Pixels(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([1.5 - x.sum(1, keepdim=True), x.sum(1, keepdim=True) - 1.5], 1)


def test_masks_are_recorded_with_the_vote_of_each_pixel(tmp_path):
    victim = Victim(Pixels(), mean=[0.0] * 3, std=[1.0] * 3, architecture={}).freeze()
    x, seeds = IMAGES[:3], defender_seeds(0, IDS[:3])
    clean = ImageSet(x, victim(x).argmax(1), IDS[:3])
    defense = MedRDFSeg(GaussianNoise(0.2), NoDefense(), copies=30, k=None)
    surrogate, data = (
        Oblivious()(victim, defense),
        SimpleNamespace(classes=["a", "b"], graded=False),
    )
    cell = Cell(victim, defense, surrogate, NoAttack(), clean, classes=2, data=data)
    found = evaluate(cell, Runner(CPU, 2, TensorCache(tmp_path)))
    request = MapsRequest((), 2)
    request.check(victim)
    made = request.record(cell, found, CPU)
    made.write(tmp_path / "maps.npz")
    assert request.met_by(tmp_path / "maps.npz")
    side = Maps.read(tmp_path / "maps.npz").clean
    places = torch.tensor([0, 2])
    expected = defense(x[places], victim, seeds=seeds[places])
    np.testing.assert_array_equal(side.defended_label, expected.label)
    np.testing.assert_array_equal(side.abstain, expected.abstain)
    np.testing.assert_array_equal(side.confidence_map, expected.confidence_map)
    assert 0 < side.abstain.mean() < 1
