"""Quantiles of a loaded pretrained model for the windows of a panel.

Both families predict in blocks and go on from their own quantiles where the horizon is longer than they were made for
(Chronos-Bolt beyond 64 days); that is the library's own way and is left to it.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Array, Progress, silent
from pipeline.models.pretrained.base import Pretrained
from pipeline.models.pretrained.windows import Windows

ON_GPU = 32
"""Series predicted at once on a GPU, the last one repeated to fill up, so that all batches have one shape."""
ON_CPU = 1
"""On the CPU a series is predicted alone: with two threads its last digits depended on where in the batch it stood, also in
batches of one shape, and a slice of rows must give the bytes of the whole. Chronos-Bolt-small took a tenth longer than in
batches of eight (.24 s of one core for 91 days)."""


def predict(
    model: Pretrained,
    windows: Windows,
    series: NDArray[np.int64],
    nights: NDArray[np.int64],
    horizon: int,
    *,
    at_once: int = ON_GPU,
    progress: Progress = silent,
) -> Array:
    """The model's own quantiles (N, H, K) of N windows, on the scale of units.

    Args:
        model: the loaded model.
        windows: of the panel.
        series: (N,) rows of the panel.
        nights: (N,) column of each night.
        horizon: days ahead.
        at_once: series that a GPU may predict at once, at most `ON_GPU`.
        progress: told how far it is.
    """
    import torch

    found = np.zeros((len(series), horizon, len(model.levels)))
    model.network.eval()
    at_once = ON_CPU if model.network.device.type == "cpu" else min(at_once, ON_GPU)
    for start in range(0, len(series), at_once):
        chosen = np.minimum(np.arange(start, start + at_once), len(series) - 1)
        past = torch.from_numpy(windows.past(series[chosen], nights[chosen]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a horizon longer than the model's own
            if model.base.family == "chronos-bolt":
                answer = model.pipeline.predict(past[:, 0], prediction_length=horizon)
            else:
                ahead = torch.from_numpy(windows.ahead(series[chosen], nights[chosen], horizon))
                answer = torch.cat(
                    model.pipeline.predict(
                        [_group(*pair) for pair in zip(past, ahead, strict=True)],
                        prediction_length=horizon,
                        batch_size=at_once * windows.rows,
                    )
                )
        count = min(at_once, len(series) - start)
        found[start : start + count] = answer[:count].permute(0, 2, 1).numpy()
        progress("forecast", start + count, len(series))
    return found


def _group(past: Any, ahead: Any) -> dict[str, Any]:
    """One item with its covariates, as `Chronos2Pipeline.predict` takes what is prepared already."""
    covariates = len(past) - 1
    return {
        "context": past,
        "future_covariates": ahead,
        "n_targets": 1,
        "n_covariates": covariates,
        "n_future_covariates": covariates,
    }
