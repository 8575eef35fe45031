"""What a flag means for a reader who does not build attacks."""

import re

from medrobust.result.row import UNCHECKED
from medrobust.result.stale import OTHER_CODE

_MEANINGS: tuple[tuple[str, str], ...] = (
    (
        "no gradient at all",
        "The attack follows the model's gradient, and here there was none to follow. The number "
        "says that this attack was blind, not that the defense holds. Try an adaptive threat "
        "(threat=adaptive) or a black-box attack.",
    ),
    (
        "right on only",
        "The model that was attacked is wrong on most clean images, so there was little left to "
        "attack. Look at its training before reading any robustness out of this number.",
    ),
    (
        r"of its \w+ budget",
        "The attack was allowed to change the images more than it did. It may have stopped early "
        "or been set too weak: more steps or a larger step size could find more.",
    ),
    (
        "hardly fooled what it was made on",
        "The attack failed on the very model that it could see, without any defense in between. "
        "A high accuracy here is the attack's weakness, not the defense's strength.",
    ),
    (
        "weaker than a lighter attack",
        "More effort should never help the defender. If it does, the heavier attack is set badly "
        "or led astray; believe the lower of the two accuracies.",
    ),
    (
        "which knows less",
        "An attacker who knows less did better than one who sees everything. That is the classic "
        "sign of masked gradients: the accuracy under the better-informed attack is too good to "
        "be true.",
    ),
    (
        "of its warm start",
        "The weights that did best on validation images date from before the training asked the "
        "victim, so the number is that of a plain denoiser. More questions per step, more epochs "
        "or a smaller learning rate may let the method itself help.",
    ),
    (
        "although it sees the defense",
        "An attacker who knows the defense should do at least as well as one who does not. Here it "
        "did worse, so its way through the defense is poor; believe the lower accuracy.",
    ),
    (
        OTHER_CODE,
        "The package's code was edited or updated after this number was computed, or after the "
        "adversarial images or answers that it rests on were. The same command with rerun=stale "
        "computes such cells anew, and no others.",
    ),
    (
        UNCHECKED,
        "An earlier version wrote this row without a checksum, so that a damaged digit in its file "
        "would go unnoticed. The same command with rerun=true computes and writes it anew.",
    ),
    (
        "code without source",
        "A class or function of a notebook, a lambda or compiled code cannot be told from another "
        "of the same name, so the cell is computed on every run. Put it into a file.",
    ),
)


def meaning(flag: str) -> str:
    """The explanation of a flag, empty for one that is not known."""
    return next((text for pattern, text in _MEANINGS if re.search(pattern, flag)), "")
