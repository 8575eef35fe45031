"""Other libraries' attacks, imported for comparisons."""

import sys
from types import ModuleType


def adv_lib() -> ModuleType:
    """`adv_lib.attacks`; its plotting dependency visdom is not needed and stubbed."""
    sys.modules.setdefault("visdom", ModuleType("visdom"))
    import adv_lib.attacks

    return adv_lib.attacks
