"""The sweeper composes few jobs before a sweep, and still finds every mistake there."""

import itertools
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper as HydrasBasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from hydra_plugins.medrobust_sweeper.product import jobs
from hydra_plugins.medrobust_sweeper.sweeper import BasicSweeper, covering

PARAMS = {"threat": "oblivious", "attack": "none,fgsm,pgd", "defense": "none,nrp", "eps": "2,6"}
BLOCK = {"threat": "adaptive", "attack": "pgd,autoattack", "defense": "nrp,mdda"}


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


def made(*arguments: str, params: Any = PARAMS, blocks: Any = (BLOCK,)) -> list[list[str]]:
    return jobs(params, blocks, arguments, OverridesParser.create())


def said(key: str, found: list[list[str]]) -> set[str]:
    return {word.partition("=")[2] for job in found for word in job if word.startswith(f"{key}=")}


@pytest.mark.parametrize(
    "arguments", [[], ["attack=pgd"], ["attack=bim,none", "eps=8/255"], ["seed=1,2", "x.y=[1,2]"]]
)
def test_without_blocks_the_jobs_are_hydras(arguments: list[str]) -> None:
    lines = [*(f"{key}={value}" for key, value in PARAMS.items()), *arguments]
    (theirs,) = HydrasBasicSweeper.split_arguments(
        OverridesParser.create().parse_overrides(lines), None
    )
    assert made(*arguments, blocks=None) == theirs


def test_a_block_is_a_product_beside_the_first() -> None:
    found = made()
    assert len(found) == 3 * 2 * 2 + 2 * 2 * 2
    assert found[0] == ["threat=oblivious", "attack=none", "defense=none", "eps=2"]
    assert found[-1] == ["threat=adaptive", "attack=autoattack", "defense=mdda", "eps=6"]
    assert len({tuple(job) for job in found}) == len(found)


def test_a_block_may_do_without_a_key() -> None:
    params = {"threat": "transfer", "model@threat.surrogate_model": "resnet50"}
    block = {"threat": "adaptive", "model@threat.surrogate_model": None}
    assert made(params=params, blocks=[block]) == [
        ["threat=transfer", "model@threat.surrogate_model=resnet50"],
        ["threat=adaptive"],
    ]
    other = made("model@threat.surrogate_model=vgg16", "seed=1", params=params, blocks=[block])
    assert other == [
        ["threat=transfer", "model@threat.surrogate_model=vgg16", "seed=1"],
        ["threat=adaptive", "seed=1"],
    ]


def test_a_job_that_two_products_share_runs_once() -> None:
    found = made(blocks=[{"attack": "pgd,bim"}, {"attack": "bim", "eps": "6,8"}])
    first, second, third = 3 * 2 * 2, 2 * 2, 2  # pgd is in the first, bim at eps 6 in the second
    assert len(found) == first + second + third
    assert next(job for job in found if "attack=pgd" in job) in found[:12]


def test_the_command_line_narrows_every_product() -> None:
    assert said("threat", made("attack=pgd")) == {"oblivious", "adaptive"}
    assert said("attack", made("attack=pgd")) == {"pgd"}
    # Only one product knows these.
    assert said("threat", made("threat=adaptive")) == {"adaptive"}
    assert said("attack", made("threat=adaptive")) == {"pgd", "autoattack"}
    assert said("threat", made("attack=fgsm,none")) == {"oblivious"}
    assert said("threat", made("defense=mdda")) == {"adaptive"}
    assert [job[0] for job in made("attack=autoattack,fgsm", "defense=nrp", "eps=6")] == [
        "threat=oblivious",
        "threat=adaptive",
    ]


def test_what_no_product_knows_replaces_the_choices_of_all() -> None:
    found = made("eps=4/255")
    assert len(found) == 6 + 4
    assert said("eps", found) == {"4/255"}
    assert said("attack", made("attack=pgd,square")) == {"pgd", "square"}
    assert said("threat", made("attack=pgd,square")) == {"oblivious", "adaptive"}


def test_a_key_that_no_product_sweeps_is_added_to_all() -> None:
    found = made("seed=1,2", "+new=3")
    assert len(found) == 2 * 20
    assert all("+new=3" in job for job in found)
    own = made(params={"attack": "pgd"}, blocks=[{"attack": "bim", "seed": "1"}])
    assert own == [["attack=pgd"], ["attack=bim", "seed=1"]]


@pytest.mark.parametrize(
    ("arguments", "more", "message"),
    [
        (["threat=adaptive", "defense=none"], {}, "no job is left: .*threat=adaptive defense=none"),
        (["attack.steps=interval(1,5)"], {}, "takes choices and ranges, no intervals"),
        ([], {"blocks": ["adaptive"]}, r"blocks\[0\] is 'adaptive', expected a mapping"),
        ([], {"blocks": [BLOCK, {}]}, r"blocks\[1\] is {}, expected a mapping"),
    ],
)
def test_a_sweep_that_cannot_be_is_told(
    arguments: list[str], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(HydraException, match=message):
        made(*arguments, **more)


def test_jobs_with_other_keys_are_composed_before_the_sweep_too() -> None:
    batch = [["attack=pgd"], ["attack=bim"], ["attack=pgd", "model@surrogate=vgg16"]]
    assert covering(batch) == batch
