"""Losses of two images, the first over two stages."""

import numpy as np

from medrobust.result.convergence import Convergence

SEEN = Convergence(
    ids=("x/0", "x/1"),
    wanted=2,
    counts=np.array([4, 2]),
    asked=np.array([1, 2, 3, 4, 1, 2]),
    loss=np.array([1.0, 0.5, -3.0, -2.0, 2.0, 3.0]),
    reached=np.array([False, False, False, True, False, False]),
    stage=np.array([0, 0, 1, 1, 0, 0]),
    stages=("x", "y"),
)
