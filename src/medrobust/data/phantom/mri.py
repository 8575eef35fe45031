"""Brain MRI phantoms: skull, folded brain, ventricles, and tumours of three kinds."""

import numpy as np
from numpy.typing import NDArray

from medrobust.data.phantom.canvas import (
    Array,
    Generator,
    column,
    grid,
    inside,
    smooth_noise,
    uniform,
)


def draw_mri(rng: Generator, labels: NDArray[np.int64], px: int) -> Array:
    """Draw grey images (n, px, px), with labels in the class order of `BrainTumorMRI`.

    Labels: 0 glioma, ragged and mottled within the brain; 1 meningioma, smooth at its edge; 2 none;
    3 pituitary, small, central and low. Faint tumours look like none.
    """
    n = len(labels)
    rows, columns = grid(px)
    tall, wide = uniform(rng, n, 0.76, 0.86), uniform(rng, n, 0.62, 0.72)
    y, x = rows - uniform(rng, n, -0.05, 0.05), columns - uniform(rng, n, -0.05, 0.05)
    head = np.sqrt((y / tall) ** 2 + (x / wide) ** 2)
    brain = inside(head - 0.88, 0.02)
    skull = np.exp(-(((head - 1) / 0.05) ** 2))
    folds = np.cos(9 * smooth_noise(rng, n, px, 5)) * np.clip(head - 0.25, 0, 1)
    image = 0.62 * skull + brain * (0.42 + 0.05 * folds + 0.03 * smooth_noise(rng, n, px, 4))
    for side in (-1, 1):
        hole = ((y - 0.02) / 0.24) ** 2 + ((x - side * (0.10 + 0.15 * y)) / 0.07) ** 2
        image = image - 0.22 * inside(hole - 1, 0.25) * brain

    strength = uniform(rng, n, 0.7, 1.6)
    angle = uniform(rng, n, 0, 2 * np.pi)

    def bump(cy: Array, cx: Array, size: Array, softness: float) -> Array:
        return inside(np.sqrt((y - cy) ** 2 + (x - cx) ** 2) / size - 1, softness)

    out = uniform(rng, n, 0.25, 0.50)
    ragged = uniform(rng, n, 0.17, 0.27) * (1 + 0.3 * smooth_noise(rng, n, px, 6))
    glioma = bump(out * tall * np.sin(angle), out * wide * np.cos(angle), ragged, 0.2)
    glioma = glioma * (0.09 + 0.07 * smooth_noise(rng, n, px, 12))
    rim_y, rim_x = 0.78 * tall * np.sin(angle), 0.78 * wide * np.cos(angle)
    meningioma = 0.12 * bump(rim_y, rim_x, uniform(rng, n, 0.13, 0.20), 0.1) * brain
    low = uniform(rng, n, 0.34, 0.44)
    pituitary = 0.13 * bump(low, uniform(rng, n, -0.05, 0.05), uniform(rng, n, 0.10, 0.14), 0.15)
    for label, tumour in ((0, glioma * brain), (1, meningioma), (3, pituitary)):
        image = image + column(labels == label) * strength * tumour
    return np.asarray(
        image + 0.012 * rng.standard_normal((n, px, px), dtype=np.float32), dtype=np.float32
    )
