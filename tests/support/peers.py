"""Other libraries' attacks, imported for comparisons, and how theirs and ours are compared."""

from types import ModuleType

from torch import Tensor


def adv_lib() -> ModuleType:
    """`adv_lib.attacks`; its plotting dependency visdom is not needed."""
    from medrobust.attack.adapter.adv_lib import attacks

    return attacks


def check_same(found: Tensor, other: Tensor) -> None:
    """Images of two sign attacks are equal to 1e-6 but where rounding chooses.

    Where a gradient is zero up to rounding, or an activation is, another processor may go another
    way in some pixels of an image.
    """
    same = (found - other).abs() <= 1e-6
    assert same.float().mean() > 0.99
    assert same.flatten(1).all(1).float().mean() > 0.5
