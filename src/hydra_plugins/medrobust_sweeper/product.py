"""Jobs of a sweep: a product of choices, and further products from blocks.

Hydra imports this file at every start, so nothing heavy is imported at its top.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException

if TYPE_CHECKING:
    from hydra.core.override_parser.overrides_parser import OverridesParser

Choices = dict[str, list[str]]
"""Config key -> its choices as written."""


def jobs(
    params: Mapping[str, Any] | None,
    blocks: Iterable[Mapping[str, Any]] | None,
    arguments: Sequence[str],
    parser: "OverridesParser",
) -> list[list[str]]:
    """Return every job's overrides, in order, each job once.

    The first product is that of `params`. Each block adds the product of `params` with the block's
    choices in place of theirs, and without the keys that the block sets to null. An override of
    the command line

    - narrows each product to the named choices, if some product has all of them; a product without
      any of them has no jobs. `threat=adaptive` runs the adaptive block alone, `defense=median` its
      line in every block;
    - else replaces the key's choices in every product, as in Hydra: `eps=4/255`;
    - is added to every product that does not sweep the key, except blocks that set it to null.

    Args:
        params: `hydra.sweeper.params`.
        blocks: `hydra.sweeper.blocks`.
        arguments: overrides of the command line.
        parser: Hydra's parser of overrides.

    Raises:
        HydraException: a block is not a mapping, a choice is an interval, or no job is left.
    """
    base = _choices([f"{key}={value}" for key, value in (params or {}).items()], parser)
    products, without = [base], [set[str]()]
    for number, block in enumerate(blocks or ()):
        if not isinstance(block, Mapping) or not block:
            raise HydraException(
                f"hydra.sweeper.blocks[{number}] is {block!r}, expected a mapping such as "
                "{threat: adaptive, attack: 'pgd,autoattack'}"
            )
        own = _choices([f"{k}={value}" for k, value in block.items() if value is not None], parser)
        kept = {key: choices for key, choices in base.items() if key not in block or key in own}
        products.append({**kept, **own})
        without.append(set(block) - set(own))
    for key, given in _choices(arguments, parser).items():
        known = {choice for product in products for choice in product.get(key, ())}
        narrows = len(products) > 1 and known.issuperset(given)
        products = [
            {
                **product,
                key: [choice for choice in given if choice in product[key]]
                if narrows and key in product
                else given,
            }
            if key not in absent
            else product
            for product, absent in zip(products, without, strict=True)
        ]
    made = [list(job) for product in products for job in itertools.product(*product.values())]
    if not made:
        raise HydraException(
            f"no job is left: no product of hydra.sweeper has all of {' '.join(arguments)}"
        )
    return list({frozenset(job): job for job in reversed(made)}.values())[::-1]


def _choices(overrides: Sequence[str], parser: "OverridesParser") -> Choices:
    found: Choices = {}
    for override in parser.parse_overrides(list(overrides)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            values: list[Any] = [override.get_value_element_as_str()]
        elif override.is_discrete_sweep():
            values = list(override.sweep_string_iterator())
        else:
            raise HydraException(
                f"{override.input_line}: this sweeper takes choices and ranges, no intervals"
            )
        found[key] = [f"{key}={value}" for value in values]
    return found
