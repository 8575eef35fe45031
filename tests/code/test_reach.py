"""The digest of all code that can be reached by imports."""

import pytest

from medrobust.attack.fgsm import FGSM
from medrobust.attack.pgd import PGD
from medrobust.code import module as modules
from medrobust.code.digest import reach_digest


def test_it_changes_with_whatever_is_imported_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def edited(name: str) -> None:
        modules.note(name)
        spec, source = modules._noted[name]
        assert source is not None
        changed = source._replace(text=source.text + "\nEDITED = 1\n")
        monkeypatch.setitem(modules._noted, name, (spec, changed))

    first = reach_digest([PGD])
    assert reach_digest([FGSM]) != first != reach_digest([PGD], "medrobust.evaluation.predict")
    for name in ("medrobust.attack.core.ball", "medrobust.number", "medrobust.prediction"):
        edited(name)  # imported by a module that it imports, at most
        assert reach_digest([PGD]) != first
        monkeypatch.undo()
    import medrobust.metric.certified

    edited(medrobust.metric.certified.__name__)
    assert reach_digest([PGD]) == first
