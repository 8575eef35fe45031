"""The sweeper composes few jobs before a sweep, and still finds every mistake there."""

import itertools

import pytest
from omegaconf import OmegaConf

from hydra_plugins.medrobust_sweeper.sweeper import BasicSweeper, covering


def product(*choices: list[str]) -> list[list[str]]:
    return [list(job) for job in itertools.product(*choices)]


@pytest.mark.parametrize("shape", [(5, 5), (1, 7), (3, 4, 2), (1, 1)])
def test_every_choice_is_seen_in_few_jobs(shape: tuple[int, ...]) -> None:
    axes = [[f"axis{n}={value}" for value in range(size)] for n, size in enumerate(shape)]
    batch = product(*axes)
    chosen = covering(batch)
    assert {word for job in chosen for word in job} == {word for axis in axes for word in axis}
    assert len(chosen) <= sum(shape) - len(shape) + 1
    assert [job for job in batch if job in chosen] == chosen
    # Every choice meets every key of the other axes.
    for choice in itertools.chain(*axes):
        meets = {word.split("=")[0] for job in chosen if choice in job for word in job}
        assert meets == {f"axis{n}" for n in range(len(shape))}


def test_a_missing_choice_is_found_before_the_first_job() -> None:
    composed = []

    class Loader:
        def load_sweep_config(self, master_config: object, sweep_overrides: list[str]) -> None:
            composed.append(sweep_overrides)
            if "attack=nothing" in sweep_overrides:
                raise ValueError("no such attack")

    # Hydra loads its plugins anew for every application, and its constructor names the latest.
    sweeper = BasicSweeper.__new__(BasicSweeper)
    sweeper.max_batch_size = None
    sweeper.config = OmegaConf.create({})
    sweeper.hydra_context = None
    sweeper.config_loader = Loader()  # type: ignore[attr-defined]
    attacks = [f"attack=a{n}" for n in range(9)] + ["attack=nothing"]
    batch = product(attacks, [f"defense=d{n}" for n in range(10)])
    with pytest.raises(ValueError, match="no such attack"):
        sweeper.validate_batch_is_legal(batch)
    assert len(composed) == 19
