"""Other libraries' attacks, imported for comparisons."""

from types import ModuleType


def adv_lib() -> ModuleType:
    """`adv_lib.attacks`; its plotting dependency visdom is not needed."""
    from medrobust.attack.adapter.adv_lib import attacks

    return attacks
