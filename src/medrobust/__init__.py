"""medrobust: does this defense hold, on this data, against this attacker?

A benchmark of adversarial attacks and defenses on medical images.

    >>> import medrobust
    >>> from medrobust.attack import PGD
    >>> row = medrobust.evaluate(model, (images, labels), attack=PGD(eps="8/255", steps=20))
    >>> row.metrics["accuracy"]

Importing the package is cheap: a name is loaded when it is first used.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
