"""Flags of a number: what speaks against it, as a code with values, from which words are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple


class Words(NamedTuple):
    """Texts of a flag.

    Attributes:
        sentence: template without a full stop, filled with the flag's values.
        meaning: what it means for a reader who does not build attacks.
    """

    sentence: str
    meaning: str


WORDS: Final[Mapping[str, Words]] = {
    "zero_gradient": Words(
        "{share:.0%} of images give the attacker no gradient at all: masked or saturated, the "
        "accuracy is an upper bound",
        "The attack follows the model's gradient, and here there was none to follow. The number "
        "says that this attack was blind, not that the defense holds. Try an adaptive threat "
        "(threat=adaptive) or a black-box attack.",
    ),
    "single_draw": Words(
        "{attack} judges success on a randomized defense from a single stochastic forward pass; "
        "this number may fall to attack=pgd or attack=autoattack attack.version=rand",
        "A randomized defense sometimes misclassifies an image by chance. An attack that stops at "
        "the first error keeps images that fooled the defense once, and the next draw gets them "
        "right again. Such an attack is weak, and the accuracy too high.",
    ),
    "weak_surrogate": Words(
        "the attacked model is right on only {share:.0%} of clean images",
        "The model that was attacked is wrong on most clean images, so there was little left to "
        "attack. Check its training before reading any robustness out of this number.",
    ),
    "unused_budget": Words(
        "the attack used {share:.0%} of its {norm} budget (median)",
        "The attack was allowed to change the images more than it did. It may have stopped early "
        "or been set too weak: more steps or a larger step size could find more.",
    ),
    "surrogate_not_fooled": Words(
        "the attack hardly fooled its own surrogate: {before:.0%} right before, {after:.0%} after",
        "The attack failed on the very model that it could see, without any defense in between. "
        "A high accuracy here is the attack's weakness, not the defense's strength.",
    ),
    "unrelated_gradient": Words(
        "the attacker's gradient does not lead where the deployed loss rises: cosine {cosine:.2f}, "
        "within chance (standard error {error:.2f})",
        "The attack follows a gradient that stands in for the deployed defense's. Measured by tiny "
        "random changes of the image, the deployed system's loss rises in other directions, so the "
        "attack was led astray and the accuracy is an upper bound. Give the defense a better "
        "stand-in, or use a black-box attack.",
    ),
    "step_below_quantization": Words(
        "no step of the attack exceeds {step:.2g}, less than half of the defense's quantization "
        "step {quantization:.2g}",
        "The defense rounds pixels to coarse levels, and a single step of the attack is too short "
        "to move most pixels to another level, so it sees the same gradient again and again. Set "
        "a larger attack.step_size, or use attack=momentum_pgd or attack=apgd_ce.",
    ),
    "lighter_attack_stronger": Words(
        "weaker than a lighter attack: {more} left more accuracy",
        "More effort should never help the defender. If it does, the heavier attack is set badly "
        "or led astray; believe the lower of the two accuracies.",
    ),
    "lighter_oblivious_stronger": Words(
        "weaker than a lighter attack: {more} left more accuracy (it does not see this defense)",
        "More effort should never help the defender. Here the attack does not know the defense, "
        "so a stronger attack on the bare model may transfer worse; believe the lower of the two "
        "accuracies.",
    ),
    "less_knowledge_stronger": Words(
        "weaker than {attack}, which knows less: gradients may be masked",
        "An attacker who knows less did better than one who sees everything. That is the classic "
        "sign of masked gradients: the accuracy under the better-informed attack is too good to "
        "be true.",
    ),
    "queries_as_strong": Words(
        "not clearly stronger than {attack}, which left {left:.1%}: gradients may be masked",
        "A search by queries, which sees no gradient, did about as well as an attack that sees "
        "everything, and both left much. A sound gradient attack is far stronger, so this one's "
        "gradient is probably poor, and the defense is weaker than either number.",
    ),
    "other_attack_stronger": Words(
        "weaker than {attack}, which left {metric} {left:.1%} with the same budget",
        "Another attack with the same knowledge and budget did clearly better, so this number is "
        "not what an attacker can reach. Read the lower one.",
    ),
    "oblivious_stronger": Words(
        "weaker than the oblivious attack, although it sees the defense",
        "An attacker who knows the defense should do at least as well as one who does not. Here it "
        "did worse, so its way through the defense is poor; believe the lower accuracy.",
    ),
    "warm_start": Words(
        "{name} has the weights of epoch {epoch} of its warm start of {epochs}: training with the "
        "victim lowered its validation loss no further",
        "The weights that did best on validation images date from before the training queried the "
        "victim, so the number is that of a plain denoiser. More queries per step, more epochs "
        "or a smaller learning rate may let the method itself help.",
    ),
    "other_code": Words(
        "made by other code than today's; rerun=stale renews it",
        "The package's code was edited or updated after this number was computed, or after the "
        "adversarial images or answers that it rests on were. The same command with rerun=stale "
        "computes such cells anew, and no others.",
    ),
    "unchecked": Words(
        "read from a file without a checksum (format {format}); rerun=true renews it",
        "An earlier version wrote this row without a checksum, so that a damaged digit in its file "
        "would go unnoticed. The same command with rerun=true computes and writes it anew.",
    ),
    "no_source": Words(
        "code without source, so never replayed from the cache: {names}",
        "A class or function of a notebook, a lambda or compiled code cannot be told from another "
        "of the same name, so the cell is computed on every run. Put it into a file.",
    ),
    "text": Words("{text}", ""),  # of a row that an earlier version wrote in words
}


@dataclass(frozen=True)
class Flag:
    """One flag.

    Attributes:
        code: key of `WORDS`.
        values: name -> number or text, which the sentence is filled with.
    """

    code: str
    values: dict[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        """Hash the words, which tell flags apart."""
        return hash(self.text)

    def __str__(self) -> str:
        """Return the sentence."""
        return self.text

    @property
    def text(self) -> str:
        """The sentence without a full stop; the code itself where a later version knows it."""
        if self.code not in WORDS:
            return f"{self.code} {self.values}"
        return WORDS[self.code].sentence.format(**self.values)

    @property
    def meaning(self) -> str:
        """An explanation for a reader who does not build attacks; may be empty."""
        return WORDS[self.code].meaning if self.code in WORDS else ""


def flag(code: str, **values: Any) -> Flag:
    """Return a flag.

    Raises:
        KeyError: there is no such code, or its sentence wants a value that is not given.
    """
    made = Flag(code, values)
    WORDS[code].sentence.format(**values)
    return made
