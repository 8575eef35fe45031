"""Claims that may be near their bound, and tests whose seeds stay, each with its reason."""

import re

CLAIMS = {
    r"distance\(.*<= ": "a ball is kept by projection, in single IEEE operations",
    r">= [\d.]+ - 0\.0001$": "the attack keeps only points that have it; the rest is rounding",
    r"^adaptive <= oblivious$": "per image by construction: the oblivious image is a candidate",
    r"\bseconds\b": "a time is no claim about a processor's rounding",
    r"\.(amin|amax|min|max)\(\) [<>]= [01]$": "a range is kept by clamping",
}
SEEDS = {
    "tests/attack/test_dag.py::test_equals_adv_lib_on_two_classes": "the weights are such that the "
    "peer, which has no walls, finishes inside [0, 1]",
    "tests/evaluation/test_draws.py::test_the_mean_is_that_of_single_draws": "the bootstrap is "
    "compared with one from the same seed",
    "tests/attack/core/test_minimum_norm.py::test_minimum_norm_returns": "some image must change "
    "its class halfway to grey, which is so for these",
    "tests/attack/test_transfer_strength.py": "what a trick gains in transfer differs from one toy "
    "victim to the next; trained with these seeds they are a comparison that can tell",
    "tests/defense/test_metzen.py::test_measures_are_the_same": "the detector is trained for as "
    "few epochs as these images need",
}


def excuse(text: str) -> str:
    """Return why a claim may lie on its bound; empty when it may not."""
    return next((reason for pattern, reason in CLAIMS.items() if re.search(pattern, text)), "")


def keeps_seed(test: str) -> str:
    """Return why a test runs with its own seeds only; empty when they may shift."""
    return next((reason for start, reason in SEEDS.items() if test.startswith(start)), "")
