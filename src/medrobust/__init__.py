"""medrobust: does this defense hold, on this data, against this attacker?

A benchmark of adversarial attacks and defenses on medical images. Importing the package is
cheap: heavy libraries load with the sub-package that needs them.
"""

__version__ = "0.1.0"
