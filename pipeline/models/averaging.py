"""Asking the members of an ensemble, and averaging what they answer quantile by quantile."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError, TransientError, heed_stop
from pipeline.models.base import Array, Fitted, Forecast, Progress, silent
from pipeline.models.handover import Launched
from pipeline.models.panel import Panel
from pipeline.models.quantiles import GRID_LEVELS, whole_units
from pipeline.models.rare_sales import order_sizes, with_rare_sales
from pipeline.settings import QUANTILES

IN_GRID = [GRID_LEVELS.index(level) for level in QUANTILES]
"""Where the contract's levels stand in the grid."""


def asked(
    members: Mapping[str, Fitted], panel: Panel, horizon: int, failed: dict[str, str], progress: Progress = silent
) -> dict[str, Forecast]:
    """Answers of the members that have one, by name; the others go to `failed`.

    Raises:
        ModelError: none has, with the reason of each.
        TransientError: one may have an answer in a moment.
    """
    answers: dict[str, Forecast] = {}
    for name, member in members.items():
        try:
            answer = member.forecast(panel, horizon, grid=True, progress=within(name, progress))
            if not (np.isfinite(answer.mean).all() and np.isfinite(grid_of(answer)).all()):
                raise ModelError("answered with numbers that are not finite")
            answers[name] = answer
        except TransientError:
            raise
        except Exception as error:  # see `Ensemble.fit`
            heed_stop(error)
            failed[name] = f"{type(error).__name__}: {error}"
    if not answers:
        raise ModelError("no member of the ensemble could answer:\n" + listed(failed))
    return answers


def averaged(
    panel: Panel,
    answers: Mapping[str, Forecast],
    share: Array,
    launched: Launched | None = None,
    lift: Array | None = None,
) -> Forecast:
    """Average of the answers; what no member learned of rare sales is added.

    Args:
        panel: the S series.
        answers: of the members that read a history.
        share: (S, answers) their shares.
        launched: what is said of young series, which has its own season.
        lift: (S, H) what the answers are multiplied by; see `SeasonLift.factors`.
    """
    series, horizon = next(iter(answers.values())).mean.shape
    mean = np.zeros((series, horizon))
    finer = np.zeros((series, horizon, len(GRID_LEVELS)))
    for weight, answer in zip(share.T, answers.values(), strict=True):
        mean += weight[:, None] * answer.mean
        finer += weight[:, None, None] * grid_of(answer)
    if lift is not None:
        mean *= lift
        finer *= lift[..., None]
    stretches = next((each.stretches for each in answers.values() if each.stretches), None)
    if launched is not None:
        launched.into(mean, launched.forecast.mean)
        launched.into(finer, grid_of(launched.forecast))
        stretches = launched.spread(stretches)
    if panel.on_sale is not None:
        early = panel.history + np.arange(horizon)[None, :] < panel.on_sale[:, None]
        mean[early], finer[early] = 0.0, 0.0
    return Forecast(
        mean,
        whole_units(finer[..., IN_GRID]),
        with_rare_sales(finer, mean, order_sizes(panel)),
        np.array(GRID_LEVELS),
        fallbacks=max(answer.fallbacks for answer in answers.values()),
        stretches=stretches,
    )


def grid_of(answer: Forecast) -> NDArray[Any]:
    """(S, H, G) grid of an answer at the levels of the house."""
    if answer.grid is None or answer.grid_levels is None or not np.array_equal(answer.grid_levels, GRID_LEVELS):
        raise ModelError("answered without the grid that it was asked for")
    return answer.grid


def listed(failed: Mapping[str, str]) -> str:
    """Members that failed and why, one per line."""
    return "\n".join(f"  {name}: {why}" for name, why in failed.items())


def within(name: str, progress: Progress) -> Progress:
    """Progress within one member's work."""

    def tell(what: str, done: int, of: int) -> None:
        progress(name if what == name else f"{name}, {what}", done, of)

    return tell
