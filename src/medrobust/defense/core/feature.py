"""Features for a feature-space attack: a frozen network, up to a tap."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from medrobust.configured import Configured
from medrobust.data.core.base import MedicalDataModule
from medrobust.invocation import command, data_words
from medrobust.model.core.checkpoint import load_victim
from medrobust.model.core.expected import Expected
from medrobust.model.core.pretrained import timm_network
from medrobust.model.core.victim import Victim


class Features(Configured, ABC):
    """A network and the tap whose output is the feature.

    Args:
        tap: one of the network's `taps`.
    """

    def __init__(self, tap: str) -> None:
        self.tap = tap

    @abstractmethod
    def network(self, data: MedicalDataModule) -> Victim:
        """Load the frozen network from disk; called in training alone."""

    def extractor(self, data: MedicalDataModule) -> "UpTo":
        """Return a map from images (N, C, H, W) in [0, 1] to the tap's output (N, ...)."""
        return UpTo(self.network(data), self.tap)


class OfVictim(Features):
    """Features of a classifier trained on the same data with the standard objective.

    Args:
        path: path of its checkpoint.
        model: its name, as in `medrobust train model=…`.
        seed: seed of its training.
        tap: see `Features`.
    """

    unscientific = ("path",)

    def __init__(self, path: str, model: str, tap: str, seed: int = 0) -> None:
        super().__init__(tap)
        self.path, self.model, self.seed = path, model, seed

    def network(self, data: MedicalDataModule) -> Victim:
        """Load the checkpoint's network.

        Raises:
            MissingVictimError: the victim is not trained yet; names the command.
            VictimError: the checkpoint is damaged, or of another victim.
        """
        words, places = data_words(data.name, phantom=data.phantom)
        train = command("train", [*words, f"model={self.model}", f"seed={self.seed}", *places])
        # The settings identify the victim without the path, so the file must match them.
        claims = {"model": {"name": self.model}, "objective": {"name": "standard"}}
        expected = Expected.on(data, seed=self.seed, **claims)
        return load_victim(self.path, train_command=train, expected=expected)


class OfImageNet(Features):
    """Features of a timm network with ImageNet weights, downloaded once.

    Args:
        model: name in timm.
        tap: see `Features`.
    """

    def __init__(self, model: str, tap: str) -> None:
        super().__init__(tap)
        self.model = model

    def network(self, data: MedicalDataModule) -> Victim:
        """Load the pretrained network, with its own normalisation.

        Raises:
            PretrainedError: the weights are not in the local cache and cannot be downloaded.
        """
        net = timm_network(self.model, pretrained=True)
        config = net.pretrained_cfg
        architecture = {"model": self.model}
        return Victim(
            net, mean=config["mean"], std=config["std"], architecture=architecture
        ).freeze()


class UpTo(nn.Module):
    """A frozen victim's network, stopped after the tap.

    Args:
        victim: frozen victim.
        tap: name of a module that runs once and outputs one tensor.

    Raises:
        KeyError: the network has no module of that name.
    """

    def __init__(self, victim: Victim, tap: str) -> None:
        super().__init__()
        modules = dict(victim.network.named_modules())
        if not tap or tap not in modules:
            raise KeyError(f"features.tap={tap!r}: the network has the taps {victim.taps}")
        self.victim = victim.freeze()
        modules[tap].register_forward_hook(_stop)

    def train(self, mode: bool = True) -> "UpTo":
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to the tap's output (N, ...).

        Raises:
            TypeError: the tap's output is not one tensor.
            RuntimeError: the tap's module was not run.
        """
        try:
            self.victim.network(self.victim.normalise(x))
        except _Reached as reached:
            if not isinstance(reached.output, Tensor):
                raise TypeError(
                    f"features.tap gives a {type(reached.output).__name__}; tap a part of it"
                ) from None
            return reached.output
        raise RuntimeError("the network answered without running features.tap")


class _Reached(Exception):  # noqa: N818  (no error: it ends the forward pass)
    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output


def _stop(module: nn.Module, inputs: object, output: object) -> None:
    raise _Reached(output)
