"""The trained network under attack, with its normalisation inside."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from medrobust.code.module import owner
from medrobust.configured import Code, digests
from medrobust.fingerprint import digest, digest_tensors
from medrobust.model.core.anchors import Anchors
from medrobust.model.core.builder import built_by, described, identity
from medrobust.model.core.conv import SMALLEST_BATCH
from medrobust.model.core.fast import Folded, accelerated
from medrobust.prediction import Prediction

SMALL_IMAGE = 64 * 64
"""Up to this many pixels the deepest maps are so small that every layer is a product of few rows;
the whole batch is then padded to `SMALLEST_BATCH`."""


class _Caught(NamedTuple):
    """Activations of an open `tapped` from the last forward pass."""

    seen: dict[str, Tensor]
    fast: bool


class Victim(nn.Module):
    """A classifier, segmenter or detector that takes images in [0, 1].

        >>> Victim(network, mean=[0.5] * 3, std=[0.25] * 3).freeze()

    Normalisation is inside, so that every attack and every ε is in pixel units. A grey image (one
    channel) is repeated to the channels of the network inside too, so that its adversarial image
    stays grey.

    Args:
        network: normalised images (N, C, H, W) -> logits (N, K) or (N, K, H, W). A single logit is
            read as that of the second of two classes, with zero for the first. A detector gives (N,
            K + 4, A): for each anchor the logits of the classes, then the four offsets.
        mean: per-channel mean in [0, 1] units.
        std: per-channel standard deviation.
        architecture: construction of the network as plain data; enters the fingerprint. By default
            the name and the printed structure of the network.
        anchors: anchors of a detector; None for other networks.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        architecture: Mapping[str, Any] | None = None,
        anchors: Anchors | None = None,
    ) -> None:
        super().__init__()
        if not all(isinstance(row, Sequence | Tensor) and len(row) for row in (mean, std)):
            raise ValueError(f"mean={mean}, std={std}: expected a number per channel, as [0.5] * 3")
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f"mean={mean} and std={std} need equal lengths and std > 0")
        self.network = network
        self.anchors = anchors
        self.architecture = described(network) if architecture is None else dict(architecture)
        for name, values in (("mean", mean), ("std", std)):
            row = torch.tensor([float(value) for value in values])
            self.register_buffer(name, row.view(1, -1, 1, 1))
        self._convolutional = convolutional(network)
        self._known: tuple[Any, str] | None = None
        self._fast: list[nn.Module] = []  # float32, bfloat16; unregistered
        self._caught: list[_Caught] = []  # of every open `tapped`
        self._reduced = False

    @property
    def channels(self) -> int:
        """Return the channels that the network takes."""
        return self.mean.shape[1]

    def normalise(self, x: Tensor) -> Tensor:
        """Normalise images (N, 1 or C, H, W) in [0, 1] for the network."""
        if x.ndim != 4 or x.shape[1] not in (1, self.channels):
            raise ValueError(
                f"victim got images of shape {tuple(x.shape)}, expected (N, C, H, W) with C in "
                f"{sorted({1, self.channels})}, as mean and std have; set "
                f"data.channels={self.channels}, or give mean and std one number per channel"
            )
        return (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)  # broadcasts a grey channel

    def predict(self, x: Tensor) -> Prediction:
        """Return the prediction of the undefended victim on images (N, C, H, W) in [0, 1]."""
        return self.read(self(x), x)

    def read(self, output: Tensor, x: Tensor) -> Prediction:
        """Convert the output of `forward` for images `x` to a prediction."""
        return Prediction(output) if self.anchors is None else self.anchors.read(output, x)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to the network's output, see the class."""
        normal = self.normalise(x)
        if self.training:
            return two_classes(self.network(normal))
        fast = bool(self._fast) and all(caught.fast for caught in self._caught)
        # On large images only linear layers have few rows; the faster copy pads those itself, and a
        # segmenter has none. There a batch of two already rounds like a large one.
        small = x.shape[2] * x.shape[3] <= SMALL_IMAGE
        least = SMALLEST_BATCH if small or not (fast or self._convolutional) else 2
        missing = max(0, least - len(x)) if len(x) else 0
        if missing:
            normal = torch.cat([normal, normal[:1].detach().expand(missing, -1, -1, -1)])
        if not fast:
            logits = self.network(normal)
        elif self._reduced and not self._caught:
            half = normal.to(torch.bfloat16, memory_format=torch.channels_last)
            logits = self._fast[1](half).to(x.dtype)
        else:
            logits = self._fast[0](normal.contiguous(memory_format=torch.channels_last))
        for caught in self._caught:
            for tap, seen in caught.seen.items():
                caught.seen[tap] = seen[: len(x)]
        return two_classes(logits)[: len(x)]

    def accelerate(self) -> "Victim":
        """Answer through a faster copy of the frozen network, equal up to rounding; returns itself.

        An existing copy is kept; moving the victim drops it.

        Raises:
            RuntimeError: called inside `tapped`, whose modules are already selected.
        """
        if self._caught and not self._fast:
            raise RuntimeError("accelerate() the victim before its features are tapped, not inside")
        self._fast = self._fast or [accelerated(self.network)]
        return self

    def forget(self) -> None:
        """Drop the faster copy and the known fingerprint, which edits of `.data` do not change."""
        self._fast = []
        self._known = None

    @contextmanager
    def accelerated(self) -> Iterator[None]:
        """Answer through the faster copy inside the context, if a builder made the network.

        Raises:
            RuntimeError: called inside `tapped`.
        """
        before = self._fast
        self.forget()
        if built_by(self.architecture) is not None:
            self.accelerate()
        try:
            yield
        finally:
            self._fast = before

    def _apply(self, *args: Any, **kwargs: Any) -> "Victim":
        self._fast = []
        return super()._apply(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights; drops the faster copy of the old ones."""
        self._fast = []
        return super().load_state_dict(*args, **kwargs)

    def train(self, mode: bool = True) -> "Victim":
        """Set the training mode; training drops the faster copy."""
        if mode:
            self._fast = []
        return super().train(mode)

    @property
    def taps(self) -> list[str]:
        """Return the names that `features` accepts: every module of the network."""
        return [name for name, _ in self.network.named_modules() if name]

    @contextmanager
    def tapped(self, taps: Sequence[str]) -> Iterator[dict[str, Tensor]]:
        """Record the outputs of the named modules in every forward pass inside the context.

        An accelerated victim then answers in float32. It uses the plain network if a named module
        is a convolution that the faster copy has folded into its batch norm.

        Args:
            taps: names from `taps`.

        Raises:
            KeyError: the network has no module of that name.
            TypeError: the module's output is not one tensor.
        """
        modules = dict(self.network.named_modules())
        unknown = [tap for tap in taps if tap not in modules]
        if unknown:
            raise KeyError(f"victim has no tap {unknown}; it has {self.taps}")
        fast = [dict(copy.named_modules()) for copy in self._fast[:1]]
        caught: dict[str, Tensor] = {}
        open_now = _Caught(caught, not any(isinstance(f[t], Folded) for f in fast for t in taps))

        def catch(tap: str, _module: nn.Module, _inputs: object, output: object) -> None:
            if not isinstance(output, Tensor):
                raise TypeError(f"tap {tap!r} gives a {type(output).__name__}; tap a part of it")
            caught[tap] = output.clone()  # later layers may work in place (ReLU, residual sums)

        handles = [
            named[tap].register_forward_hook(partial(catch, tap))
            for named in (modules, *fast)
            for tap in taps
        ]
        self._caught.append(open_now)
        try:
            yield caught
        finally:
            self._caught = [other for other in self._caught if other is not open_now]
            for handle in handles:
                handle.remove()

    def features(self, x: Tensor, taps: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the logits and the outputs of the named modules from one forward pass.

        Args:
            x: images (N, C, H, W) in [0, 1].
            taps: names from `taps`.

        Returns:
            logits, and {tap: activation (N, ...)}.
        """
        with self.tapped(taps) as caught:
            logits = self(x)
        return logits, caught

    @contextmanager
    def reduced_precision(self) -> Iterator[None]:
        """Compute in bfloat16 inside the context; logits keep the image's dtype.

        Raises:
            RuntimeError: the victim is not accelerated, or is inside `tapped`.
        """
        if not self._fast:
            raise RuntimeError("reduced precision needs an accelerated victim; call accelerate()")
        if self._caught:
            raise RuntimeError("call reduced_precision() outside tapped(), not inside it")
        if len(self._fast) == 1:
            with torch.inference_mode(False):  # the copy outlives the caller's inference mode
                self._fast.append(copy.deepcopy(self._fast[0]).to(torch.bfloat16))
        before, self._reduced = self._reduced, True
        try:
            yield
        finally:
            self._reduced = before

    def freeze(self) -> "Victim":
        """Set evaluation mode and disable gradients of all weights; returns itself."""
        self.eval()
        self.requires_grad_(False)
        return self

    @property
    def computed_by(self) -> tuple[Code, ...]:
        """Return the code that the victim computes with: this class and the network's builder.

        For a network from elsewhere, they are this class and the classes of its layers that are not
        from a library.
        """
        made = built_by(self.architecture)
        if made is not None:
            return (type(self), made)
        kinds = dict.fromkeys(type(part) for part in self.network.modules())
        return (type(self), *(kind for kind in kinds if owner(kind.__module__) != "library"))

    @property
    def identity(self) -> str:
        """Return the SHA-256 of fingerprint and code, on which every answer depends."""
        return digest([self.fingerprint, digests(self.computed_by)])

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of architecture and weights; recomputed when a weight changes."""
        state = self.state_dict()
        version = tuple((t.data_ptr(), t._version) for t in state.values())
        if self._known is None or self._known[0] != version:
            self._known = (version, digest([identity(self.architecture), digest_tensors(state)]))
        return self._known[1]


def convolutional(network: nn.Module) -> bool:
    """Return True if only convolutions, and optionally batch norms, have weights."""
    owners = {type(part) for part in network.modules() if [*part.parameters(recurse=False)]}
    return nn.Conv2d in owners and owners <= {nn.Conv2d, nn.BatchNorm2d}


def two_classes(logits: Tensor) -> Tensor:
    """Extend a single logit z (N, 1[, H, W]) to (0, z), whose softmax gives sigmoid(z)."""
    return logits if logits.shape[1] > 1 else torch.cat([torch.zeros_like(logits), logits], dim=1)
