"""Every network of conf/model on the device: answers, gradients, taps, the faster copy."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from medrobust.resolvers import register
from tests.defense.test_suite import CONF
from tests.device.conftest import Entry
from tests.support.device.compare import moved

pytestmark = pytest.mark.device

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


@pytest.mark.parametrize("name", MODELS)
def test_model(name: str, device: torch.device, entry: Entry) -> None:
    """Equal up to rounding: on a CPU the faster copy has convolutions of its own."""
    entry("model", "answers and gradients")
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=[f"model={name}"]).model
    torch.manual_seed(0)
    victim = instantiate(config, num_classes=3).freeze()
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = []
    for here in (victim, moved(victim, device)):
        place = here.mean.device
        images = x.to(place).requires_grad_()
        tap = here.taps[-1]
        logits, features = here.features(images, [tap])
        (grad,) = torch.autograd.grad(logits.square().sum(), images)
        here.accelerate()
        fast = here.predict(x.to(place)).logits
        with here.reduced_precision():
            assert here(x.to(place)).device == place
        found.append([logits, features[tap], grad, fast])
    for there, expected in zip(found[1], found[0], strict=True):
        assert there.device == device
        torch.testing.assert_close(there.cpu(), expected, rtol=1e-2, atol=1e-3)
