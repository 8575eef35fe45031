import pytest

from medrobust.attack.pgd_l2 import PGDL2


def test_step_size_and_norm() -> None:
    attack = PGDL2(2.0, steps=10)
    assert attack.step_size == pytest.approx(0.5)
    assert attack.norm == "l2"
    assert attack.eps == 2.0


def test_fingerprint_is_not_that_of_linf() -> None:
    from medrobust.attack.pgd import PGD

    assert PGDL2(0.5, steps=10).fingerprint != PGD(0.5, steps=10).fingerprint
