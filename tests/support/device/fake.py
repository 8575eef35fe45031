"""A device in host memory that refuses CPU tensors as CUDA does: `torch.device("fake")`.

PyTorch keeps a dispatch key, PrivateUse1, for backends outside its tree. Its Python interface for
such backends (`_setup_privateuseone_for_python_backend`) is private, wraps each tensor in a
subclass, and needs a kernel for every operator. The backend here is `fake.cpp` instead: plain
tensors with a device of their own, and one boxed fallback that runs the CPU's kernels on the same
memory. So a result has the CPU's bits, and a new operator needs no line here.

An operator raises if a CPU tensor with dimensions, or a CPU generator, meets tensors of the device.
CPU scalars (no dimensions) and CPU indices in `x[index]` pass, as on CUDA. `numpy()` raises.

PyTorch itself chooses by the device in a few places, and then rounds otherwise: optimizers take
`foreach` where it is not set, and `medrobust.model.core.conv` has convolutions of the CPU's own.
"""

import fcntl
import sys
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from lightning_fabric.accelerators import ACCELERATOR_REGISTRY as FABRIC
from pytorch_lightning.accelerators import Accelerator, AcceleratorRegistry
from pytorch_lightning.strategies import SingleDeviceStrategy, StrategyRegistry

ROOT = Path(__file__).parents[3]
MODULE = {
    "is_available": lambda: True,
    "is_initialized": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "device": nullcontext,
    "synchronize": lambda device=None: None,
    "manual_seed_all": lambda seed: None,
    "_is_in_bad_fork": lambda: False,
    "get_amp_supported_dtype": lambda: [torch.bfloat16],
}
"""The functions of `torch.fake` that PyTorch calls."""


class FakeAccelerator(Accelerator):
    """Lightning's view of the one fake device: `trainer.accelerator=fake`."""

    def setup_device(self, device: torch.device) -> None:
        pass

    def teardown(self) -> None:
        pass

    @staticmethod
    def parse_devices(devices: int | str | list[int]) -> list[int]:
        return [0]

    @staticmethod
    def get_parallel_devices(devices: list[int]) -> list[torch.device]:
        return [torch.device("fake", index) for index in devices]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return "fake"


@cache
def fake_device() -> torch.device:
    """Build the backend if its source or PyTorch has changed, load it, and return its device."""
    from torch.utils.cpp_extension import load

    folder = ROOT / "build" / f"fake_device_{torch.__version__}_{sys.version_info.minor}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "one_at_a_time").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        (folder / "lock").unlink(missing_ok=True)  # PyTorch's, of a build that was killed
        extension = load(
            "fake_device",
            [str(Path(__file__).with_name("fake.cpp"))],
            extra_cflags=["-O1"],
            build_directory=str(folder),
        )
    torch.utils.rename_privateuse1_backend("fake")
    extension.set_up()
    module = ModuleType("torch.fake")
    vars(module).update(MODULE)
    torch._register_device_module("fake", module)
    for registry in (FABRIC, AcceleratorRegistry):
        registry.register("fake", FakeAccelerator, description="tests/support/device")
    # Lightning's own choice for one device of an accelerator that it does not know is the CPU.
    StrategyRegistry.register("fake", SingleDeviceStrategy, device="fake:0")
    return torch.device("fake", 0)
