"""The margins themselves: what is measured, and what counts as nothing."""

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.margins import record
from tests.margins.rewrite import rewrite
from tests.margins.settings import further, instruction_sets
from tests.margins.table import read, render


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a rewritten snippet as one test; returns what it measured."""

    def call(source: str, **names: Any) -> list[dict[str, Any]]:
        monkeypatch.setattr(record, "_worst", {})
        tree = ast.parse(source)
        rewrite(tree, "test_x.py")
        exec(compile(tree, "test_x.py", "exec"), {"torch": torch, "np": np, **names})
        record.write(tmp_path / "found.jsonl")
        lines = (tmp_path / "found.jsonl").read_text().splitlines()
        (tmp_path / "found.jsonl").unlink()
        return [json.loads(line) for line in lines]

    return call


def merged(folder: Path, **settings: list[dict[str, Any]]) -> Any:
    files = {}
    for name, lines in settings.items():
        files[name] = folder / f"{name}.jsonl"
        files[name].write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read(files)


@pytest.mark.parametrize(
    ("claim", "margin"),
    [
        ("assert torch.tensor(0.75) > 0.5", 0.25),
        ("assert 1 < 3", 2),
        ("assert 2 <= 2 and True", 0),
        ("assert (torch.tensor([0.5, 0.25, 1.0]) > 0.125).all()", 0.125),
        ("assert (torch.tensor([0.5, 0.25]) > 0.375).any()", 0.125),
        ("assert all(a < 8 for a in (1, 5, 2))", 3),
        ("for a in (1, 5, 2):\n    assert a < 8", 3),
        ("assert 2.0 == pytest.approx(1.9, abs=0.4)", 0.75),
        ("assert 2.0 == pytest.approx(np.float32(2.0))", 1),
        ("assert [1.0, 2.0] == pytest.approx([1.0, 1.9], abs=0.4)", 0.75),
        ("assert [np.nan, 1] == pytest.approx([np.nan, 1.1], abs=0.4, nan_ok=True)", 0.75),
        ("torch.testing.assert_close(torch.ones(2), torch.ones(2) + 0.25, rtol=0, atol=1)", 0.75),
        ("assert np.allclose(np.ones(2), np.ones(2) + 0.25, rtol=0, atol=1)", 0.75),
    ],
)
def test_the_smallest_margin_is_kept(measure: Any, claim: str, margin: float) -> None:
    (found,) = measure(claim, pytest=pytest)
    assert found["margin"] == pytest.approx(margin, rel=1e-6)


def test_both_sides_of_a_chain_are_claims(measure: Any) -> None:
    found = measure("assert 0 < 3 < 4")
    assert [one["margin"] for one in found] == [3, 1]


def test_what_is_below_a_mean_is_no_claim(measure: Any) -> None:
    (found,) = measure("assert (torch.arange(10) < 9).float().mean() > 0.5")
    assert found["margin"] == pytest.approx(0.4)
    assert found["images"] == 10


def test_a_claim_that_fails_still_fails(measure: Any) -> None:
    for claim in ("assert 3 < 2", "assert (torch.arange(3) > 0).all()", "assert 0 < 3 < 3"):
        with pytest.raises(AssertionError):
            measure(claim)
    with pytest.raises(AssertionError):
        measure("torch.testing.assert_close(torch.ones(2), torch.zeros(2), rtol=0, atol=0.5)")


def test_seeds_shift(measure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "out.append(torch.rand(3, generator=torch.Generator().manual_seed(5)))"
    out: list[torch.Tensor] = []
    for shift in ("0", "1", "1"):
        monkeypatch.setenv("MARGINS_SEED", shift)
        (measure(source + "\nassert 0 < 1", out=out),)
    own = torch.rand(3, generator=torch.Generator().manual_seed(5))
    assert torch.equal(out[0], own)
    assert not torch.equal(out[1], own)
    assert torch.equal(out[1], out[2])
    # What the package has seeded is passed on as it is.
    torch.manual_seed(5)
    (measure(source.replace("(5)", "(torch.initial_seed())") + "\nassert 0 < 1", out=out),)
    assert torch.equal(out[3], own)


@pytest.mark.parametrize(
    ("right", "threshold", "nothing"),
    [
        ((19, 18), 0.45, True),  # of 40: 0.475 and 0.45, which one image moves
        ((21, 20), 0.45, False),  # two images
        ((18, 18), 0.45, False),  # no image moves, whatever is set
    ],
)
def test_one_image_is_nothing(
    measure: Any, tmp_path: Path, right: tuple[int, int], threshold: float, nothing: bool
) -> None:
    settings = {}
    for name, count in zip(("avx2", "avx512"), right, strict=True):
        claim = f"assert (torch.arange(40) < n).float().mean() >= {threshold} - 1e-6"
        settings[name] = measure(claim, n=count)
    (found,), failed = merged(tmp_path, **settings)
    assert found.nothing == nothing, found
    assert failed == {"avx2": [], "avx512": []}
    assert ("NOTHING" in render([found], list(settings))) == nothing


def test_a_real_margin_is_measured_by_how_far_processors_are_apart(
    measure: Any, tmp_path: Path
) -> None:
    for apart, nothing in ((0.04, True), (0.001, False)):
        settings = {
            name: measure("assert torch.tensor(value) > 3.1", value=value)
            for name, value in (("avx2", 3.1415926), ("avx512", 3.1415926 - apart))
        }
        (found,), _ = merged(tmp_path, **settings)
        assert found.nothing == nothing, found


def test_a_bound_that_is_kept_everywhere_is_no_matter(measure: Any, tmp_path: Path) -> None:
    same = measure("assert torch.tensor(0.0) >= 0.0")
    (found,), _ = merged(tmp_path, avx2=same, avx512=same)
    assert not found.nothing
    assert found.note


def test_settings_of_this_machine() -> None:
    sets = instruction_sets()
    assert "default" in sets
    assert set(further()) == {"2 threads", "seed+1", "seed+2"}
    assert all(one["OMP_NUM_THREADS"] == "1" for one in sets.values())
