"""Round float images to the 8-bit images that an attacker could hand over."""

from torch import Tensor

from medrobust.attack.core.norm import distance


def quantize(x: Tensor, adversarial: Tensor, norm: str, eps: float | None) -> Tensor:
    """Round to multiples of 1/255 without leaving the budget.

    Values are rounded to the nearest level. An image that this takes over budget has every value
    rounded toward its clean one instead.

    Args:
        x: clean images (N, C, H, W) in [0, 1], themselves on the 8-bit grid.
        adversarial: images within `eps` of `x`.
        norm: `linf` or `l2`.
        eps: the budget; None when there is none.

    Raises:
        ValueError: `x` is not on the 8-bit grid, so that rounding toward it has no meaning.
    """
    grid = x * 255
    if (grid - grid.round()).abs().amax() > 1e-3:
        raise ValueError("quantize=true needs clean images on the 8-bit grid; set quantize=false")
    nearest = (adversarial * 255).round() / 255
    if eps is None:
        return nearest
    over = distance(x, nearest, norm) > eps + 1e-6 * max(1.0, eps)
    toward = (x + ((adversarial - x) * 255).trunc() / 255).clamp(0, 1)
    return toward.where(over.view(-1, 1, 1, 1), nearest)
