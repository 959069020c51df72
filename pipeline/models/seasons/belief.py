"""How much more an item sells in a season than the shop's own seasons say: believed from words, from sales, and from both.

How many times as much it is, is believed to be gamma distributed: with the mean that items of like texts have, and worth
`WORDS` sales; what the item sold itself is added to that (the Poisson-gamma model, as in Gelman et al., Bayesian Data
Analysis, 2.6). So an item without a history is read from words alone, one with a long history from its sales.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.models.base import Array

WORDS = 6.0
"""Expected sales that what words tell is worth."""
LEAST_LIFT = 1.5
"""An item sells for a season that brings this many times what the shop's own seasons say."""


@dataclass(frozen=True)
class Belief:
    """How many times as much items sell in seasons as the shop's own seasons say.

    Attributes:
        mean: (N, K) expected.
        certainty: (N, K) chance that it is at least `LEAST_LIFT`.
    """

    mean: Array
    certainty: Array

    @classmethod
    def of(cls, told: Array, came: Array | None = None, usual: Array | None = None) -> "Belief":
        """What is believed from words, and from sales where they are given.

        Args:
            told: (N, K) what items of like texts sell, ÷ what the shop's seasons say; 1 where nothing is told.
            came: (N, K) sales.
            usual: (N, K) sales that the shop's seasons say.
        """
        from scipy import stats

        shape, rate = np.full(told.shape, WORDS), WORDS / np.maximum(told, 1e-6)
        if came is not None and usual is not None:
            shape, rate = shape + came, rate + usual
        return cls(shape / rate, np.asarray(stats.gamma.sf(LEAST_LIFT, shape, scale=1 / rate)))
