"""What a budget of seconds allows: how many windows, series and rounds, decided once and in coarse steps.

A pass over the features costs by the series that it reads, however few of their windows are asked about, and a training makes
four of them: for the probe, for the windows to learn from, for those that validate, and for the refit.
"""

import math
from dataclasses import dataclass, replace

from pipeline.errors import ModelError

LEAST_ROUNDS = 20
"""Rounds below which a booster has hardly left its start: a clock that allows fewer allows no model."""
VALIDATE_SHARE = 0.5
"""Share of the boosters' seconds for those that do not see the last days: the refit makes as many rounds at most, and is to
have its time also where the clock stopped them."""
VALIDATION_WINDOWS = 40_000
PROBE_ROWS, PROBE_ROUNDS, PROBE_SERIES = 8_000, 10, 400
WINDOWS_OF_A_SERIES = 17
"""Windows that cost as much as a series, whose days are all summed up (measured on one and on two years)."""

_LEAST_ROWS, _LEAST_SERIES = 3_000, 500
_STEPS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.09, 0.06)
"""Shares of rows and of rounds that a budget is rounded down to, so that a moment's noise rarely changes the plan."""
_GROWTH = 0.5
"""A round takes rows to this power as long, from the probe to the whole: trees of many rows have no more leaves, and most
boosters stop early."""
_PASSES_SHARE = 0.3
"""Share of the seconds that passes over the features may take; they read fewer series where all would take more."""


class TooLittleTimeError(ModelError):
    """A budget that allows no model.

    Attributes:
        seconds: those that would about suffice on this machine at this moment.
    """

    def __init__(self, seconds: float) -> None:
        """Say what would suffice."""
        super().__init__(
            f"too few seconds for {LEAST_ROUNDS} rounds of each booster; about {seconds:.1f} would suffice"
        )
        self.seconds = seconds


@dataclass(frozen=True)
class Plan:
    """What a training does.

    Attributes:
        rows: windows to learn from.
        series: most series that they are drawn from.
        rounds: most rounds of a booster.
        budget: what decided it: steps, or seconds where they do not suffice for all.
    """

    rows: int
    series: int
    rounds: int
    budget: str = "steps"


@dataclass(frozen=True)
class Costs:
    """Seconds that a probe took.

    Attributes:
        spent: up to its end.
        per_window: of a window in a pass over the features.
        per_round: of a round of all boosters over the probe.
        leads: windows of each series that validate.
    """

    spent: float
    per_window: float
    per_round: float
    leads: int

    def features(self, windows: int, series: int) -> float:
        """Seconds of a pass over the features."""
        return self.per_window * (windows + WINDOWS_OF_A_SERIES * series)

    def boosters(self, rows: int, rounds: int) -> float:
        """Seconds of all boosters."""
        return self.per_round * rounds * math.pow(max(1.0, rows / PROBE_ROWS), _GROWTH)

    def validated(self, plan: Plan) -> float:
        """Seconds until all boosters are validated."""
        held = min(VALIDATION_WINDOWS, self.leads * plan.series)
        passes = self.features(plan.rows, plan.series) + self.features(held, plan.series)
        return self.spent + passes + self.boosters(plan.rows, plan.rounds)

    def whole(self, plan: Plan) -> float:
        """Seconds of a training, its refit included."""
        refit = (1 / VALIDATE_SHARE - 1) * self.boosters(plan.rows, plan.rounds)
        return self.validated(plan) + self.features(plan.rows, plan.series) + refit


def planned(wanted: Plan, costs: Costs, max_seconds: float) -> Plan:
    """What of a training the seconds allow: all of it, or fewer series first, then fewer windows and rounds.

    Raises:
        TooLittleTimeError: they do not even allow the least.
    """
    if costs.whole(wanted) <= max_seconds:
        return wanted
    fewer = replace(wanted, budget="seconds")
    while fewer.series > _LEAST_SERIES and 3 * costs.features(0, fewer.series) > _PASSES_SHARE * max_seconds:
        fewer = replace(fewer, series=max(_LEAST_SERIES, fewer.series // 2))
    for step in _STEPS:
        rows = min(wanted.rows, max(_LEAST_ROWS, round(step * wanted.rows)))
        rounds = min(wanted.rounds, max(LEAST_ROUNDS, round(step * wanted.rounds)))
        plan = replace(fewer, rows=rows, rounds=rounds)
        if costs.whole(plan) <= max_seconds:
            return plan
    # the probe may say too much, and without a refit there is a model too
    if costs.validated(plan) > max_seconds:
        raise TooLittleTimeError(costs.whole(plan))
    return plan
