"""Comparisons that rewritten tests call: as Python compares, keeping the smallest margin."""

import json
import math
import operator
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
LARGEST = 400  # images that a rate may be of
KEY = ("test", "path", "line", "text", "link")  # the last: which of a chain of comparisons
SHIFT = 1_000_003


class Site(NamedTuple):
    """One comparison in the source."""

    path: str
    line: int
    text: str
    signs: tuple[str, ...]
    fixed: tuple[bool, ...]
    over: str


def sites(found: list[tuple[Any, ...]]) -> list[Site]:
    """Restore the sites of a module."""
    return [Site(*one) for one in found]


_images: list[int] = []  # of the means in the comparison at hand
_worst: dict[tuple[str, str, int, str, int], dict[str, Any]] = {}


def seed(value: Any) -> Any:
    """Return a seed, shifted by the run's `MARGINS_SEED`."""
    shift = int(os.environ.get("MARGINS_SEED", "0"))
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value) + SHIFT * shift
    return value


def _test() -> str:
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]


def _keep(site: Site, link: int, found: dict[str, Any]) -> None:
    key = (_test(), site.path, site.line, site.text, link)
    old = _worst.get(key)
    steps = math.lcm(old["per"] if old else 1, found["per"])
    if old is None or found["margin"] < old["margin"]:
        _worst[key] = found
    _worst[key]["per"] = steps


def _array(value: Any) -> np.ndarray[Any, Any] | None:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    elif not isinstance(value, int | float | np.ndarray | np.generic | Fraction):
        return None
    array = np.asarray(value)
    return array if array.dtype.kind in "biuf" else None


def share(value: float) -> int:
    """Return of how many images a rate can be a share: the denominator, or 0 of no small one."""
    near = Fraction(value).limit_denominator(LARGEST)
    return near.denominator if abs(float(near) - value) <= 6e-8 * max(abs(value), 1e-3) else 0


def _compare(site: Site, link: int, left: Any, right: Any) -> None:
    sign, fixed = site.signs[link], site.fixed[link : link + 2]
    a, b = _array(left), _array(right)
    if a is None or b is None or not a.size or not b.size:
        return
    whole = a.dtype.kind in "biu" and (b.dtype.kind in "biu" or not np.mod(b, 1).any())
    if b.dtype.kind in "biu" and not np.mod(a, 1).any():
        whole = whole or fixed[0]
    x, y = np.broadcast_arrays(a.astype(float), b.astype(float))
    gap = (y - x if sign in ("<", "<=") else x - y).ravel()
    place = int(np.nanargmin(gap) if site.over == "all" else np.nanargmax(gap))
    pair = (float(x.ravel()[place]), float(y.ravel()[place]))
    sizes = [share(value) for value, known in zip(pair, fixed, strict=True) if not known]
    found = {
        "sign": sign,
        "left": pair[0],
        "right": pair[1],
        "fixed": list(fixed),
        "images": math.lcm(*_images),
        "margin": float(gap[place]),
        "unit": "count" if whole else ("rate" if sizes and all(sizes) else "real"),
        "per": 1 if whole else math.lcm(*sizes) if sizes and all(sizes) else 1,
    }
    _keep(site, link, found)


def share_of(values: Any) -> Any:
    """Return `values`, of which a mean is taken, and remember how many zeros and ones they are."""
    array = _array(values)
    if array is not None and array.size and np.isin(array, (0, 1)).all():
        _images.append(array.size)
    return values


def compare(site: Site, *values: Any) -> Any:
    """Return what the chain of comparisons returns, and keep its margins."""
    result: Any = True
    for place, sign in enumerate(site.signs):
        left, right = values[place : place + 2]
        result = COMPARE[sign](left, right)
        _compare(site, place, left, right)
        if place + 1 < len(site.signs) and not result:
            break
    _images.clear()
    return result


def approx(site: Site, value: Any, expected: Any) -> bool:
    """Return `value == expected` for a `pytest.approx`, and keep the share of tolerance left."""
    many = hasattr(expected, "_yield_comparisons") and not hasattr(type(expected), "tolerance")
    for got, one in list(expected._yield_comparisons(value)) if many else [(value, expected)]:
        scalar = expected._approx_scalar(one) if many else one
        real = isinstance(scalar.expected, int | float | np.floating) and np.ndim(got) == 0
        if real and math.isfinite(scalar.expected) and scalar.tolerance:
            wanted = float(scalar.expected)
            _tolerate(site, float(got), wanted, abs(float(got) - wanted) / scalar.tolerance)
    return bool(value == expected)


def _tolerate(site: Site, got: float, wanted: float, used: float) -> None:
    if math.isfinite(used):
        margin = 1 - float(used)  # NumPy's float32 is no JSON
        found = {"sign": "≈", "left": got, "right": wanted, "margin": margin, "per": 1}
        _keep(site, 0, {**found, "unit": "tolerance"})


def close(site: Site, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function`, which compares arrays within a tolerance, so that it keeps the margin."""

    def call(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        if result is not None and not np.all(result):
            return result  # inside a `not`, or a failure that pytest reports
        a, b = (_array(value) for value in arguments[:2])
        rtol, atol = options.get("rtol"), options.get("atol")
        if a is not None and b is not None and a.size and a.dtype.kind == "f" and (rtol or atol):
            default = 1e-5 if getattr(function, "__name__", "") == "allclose" else 0.0
            room = (atol or 0.0) + (default if rtol is None else rtol) * np.abs(b.astype(float))
            apart = np.abs(a.astype(float) - b.astype(float))
            used = np.where(apart == 0, 0.0, apart / np.maximum(room, 1e-300))
            used = np.broadcast_to(used, np.broadcast_shapes(a.shape, b.shape))
            place = int(np.nanargmax(used))
            x, y = (np.broadcast_to(value, used.shape).ravel()[place] for value in (a, b))
            _tolerate(site, float(x), float(y), float(used.ravel()[place]))
        return result

    return call


def write(path: Path) -> None:
    """Append what was kept as JSON lines."""
    lines = [
        json.dumps({**dict(zip(KEY, key, strict=True)), **found}) + "\n"
        for key, found in _worst.items()
    ]
    with path.open("a") as file:
        file.write("".join(lines))
    _worst.clear()
