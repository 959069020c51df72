"""The night's model: the members that are on, each fitted for itself, averaged quantile by quantile.

A member that cannot be fitted, or cannot answer, is left out and named, and the night goes on with the others: a degraded
night. Weights per volume class, and how days move together, come from days that no member has seen (`weights.py`,
`calibration.py`); what the night forecasts with has then learned those days too. How sums are spread is taken from the
first member that learned it. One member, `launches`, speaks for young series alone, and hands over to the others
(`handover.py`); with it, series without a last year follow the season of items of like texts (`season_lift.py`).
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HistoryError, ModelError, TransientError, heed_stop
from pipeline.model_settings import EnsembleSettings
from pipeline.models import handover
from pipeline.models.averaging import IN_GRID, asked, averaged, grid_of, listed, within
from pipeline.models.base import (
    Array,
    Compute,
    Dependence,
    Fitted,
    Forecast,
    Forecaster,
    Progress,
    TrainingReport,
    silent,
)
from pipeline.models.calibration import item_shares, level_share
from pipeline.models.handover import Launched
from pipeline.models.launches.forecaster import FittedLaunches
from pipeline.models.panel import Panel
from pipeline.models.season_lift import NAME as SEASON_LIFT
from pipeline.models.season_lift import SeasonLift, lifted
from pipeline.models.weights import CLASSES, VolumeClasses, class_weights

NAME = "ensemble"
LAUNCHES = "launches"
"""The member that forecasts young series, and is weighed by their age."""
DESCRIPTION_FILE = "ensemble.json"
FORMAT = 1
_SERIES = 2000
"""Series that weights and calibration are fitted on: half of them best sellers, the others spread over the rest."""


@dataclass(frozen=True)
class Ensemble:
    """The forecaster with its members.

    Attributes:
        members: name → forecaster, at least one.
        settings: how they are combined.
        validation_days: days before the night that weights and calibration come from.
        name: as in the registry.
    """

    members: Mapping[str, Forecaster]
    settings: EnsembleSettings
    validation_days: int = 28
    name: str = NAME

    def fit(
        self,
        panel: Panel,
        *,
        folder: Path,
        compute: Compute,
        progress: Progress = silent,
        start: Fitted | None = None,
    ) -> "FittedEnsemble":
        """Fit every member, then weights and calibration; see `pipeline.models.base.Forecaster`.

        Raises:
            HistoryError: too little history for all members.
            ModelError: no member could be fitted, with the reason of each; or `start` is no ensemble.
        """
        began = time.perf_counter()
        if start is not None and not isinstance(start, FittedEnsemble):
            raise ModelError(f"an ensemble cannot go on from a {start.name!r}; train a new one")
        fitted: dict[str, Fitted] = {}
        failed: dict[str, str] = {}
        too_short: list[HistoryError] = []
        for name, member in self.members.items():
            try:
                fitted[name] = member.fit(
                    panel,
                    folder=folder / name,
                    compute=compute,
                    progress=within(name, progress),
                    start=start.members.get(name) if start else None,
                )
            except HistoryError as error:
                if name == LAUNCHES:
                    continue  # a shop that saw few launches lacks nothing
                failed[name] = str(error)
                too_short.append(error)
            except TransientError:
                raise  # the night is tried again, and has the member then
            except Exception as error:  # whatever a library trips over must not stop the night
                heed_stop(error)
                failed[name] = f"{type(error).__name__}: {error}"
        if not fitted.keys() - {LAUNCHES}:
            if len(too_short) == len(failed) and too_short:
                raise too_short[0]
            raise ModelError("no member of the ensemble could be fitted:\n" + listed(failed))
        held = _held_back(panel, fitted, self.validation_days)
        combined = _combine(panel, fitted, failed, held, self.settings)
        combined = replace(combined, handover_days=_handover_days(panel, held, combined))
        unseen_lift = None
        if LAUNCHES in combined.members:
            combined = replace(combined, season_lift=SeasonLift.fit(panel))
            unseen_lift = SeasonLift.fit(panel.until(panel.history - held))
        combined = replace(combined, report=_report(combined, held, time.perf_counter() - began))
        unseen = {name: member.validated or member for name, member in combined.members.items()}
        return replace(combined, validated=replace(combined, members=unseen, season_lift=unseen_lift))


@dataclass(frozen=True)
class FittedEnsemble:
    """Fitted members with their weights, ready for any panel of the shop.

    Attributes:
        members: name → fitted member.
        weights: (classes, members but `launches`) weights.
        classes: where volume classes begin.
        dependence: how days and items move together, all series alike.
        item_shares: (classes,) share of variance common to all days of a series, per class.
        handover_days: see `handover.shares`.
        season_lift: what series without a last year follow; None in a shop without texts, or without the launches' member.
        failed: members that are on but could not be fitted, with the reason.
        report: what the training did.
        name: as in the registry.
        validated: the same members as they were before the last days.
    """

    members: Mapping[str, Fitted]
    weights: Array
    classes: VolumeClasses
    item_shares: Array
    dependence: Dependence = field(default_factory=Dependence)
    handover_days: float = handover.USUAL_DAYS
    season_lift: SeasonLift | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    report: TrainingReport = field(default_factory=TrainingReport)
    name: str = NAME
    validated: "FittedEnsemble | None" = None

    @property
    def lookback_days(self) -> int:
        """As far back as the member that looks furthest."""
        return max(365, *(member.lookback_days for member in self.members.values()))

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Progress = silent) -> Forecast:
        """Average the members' forecasts; see `pipeline.models.base.Fitted`.

        Raises:
            ModelError: no member could answer, with the reason of each.
        """
        failed = dict(self.failed)
        answers = asked(_ageless(self.members), panel, horizon, failed, progress)
        classes = self.classes.index(panel)
        launched = self._launched(panel, horizon, failed, progress)
        lift = lifted(self.season_lift, panel, horizon, failed)
        answer = averaged(panel, answers, self._weights_of(answers)[classes], launched, lift)
        item_share = self.item_shares[classes]
        if launched is not None and launched.forecast.item_share is not None:
            launched.into(item_share, launched.forecast.item_share)
        return replace(
            answer,
            grid=answer.grid if grid else None,
            grid_levels=answer.grid_levels if grid else None,
            item_share=item_share,
            failed=failed,
        )

    def _launched(self, panel: Panel, horizon: int, failed: dict[str, str], progress: Progress) -> Launched | None:
        """What the launches' forecaster says of young series; None without it, or where it cannot answer."""
        rows = handover.young(panel)
        member = self.members.get(LAUNCHES)
        if member is None or not len(rows):
            return None
        mine = panel.rows(rows)
        try:
            answer = asked({LAUNCHES: member}, mine, horizon, failed, progress)[LAUNCHES]
        except ModelError:
            return None  # the reason stands in `failed`
        return Launched(rows, handover.shares(mine, self.handover_days), answer)

    def _weights_of(self, answers: Mapping[str, Forecast]) -> Array:
        """(classes, answers) weights of those who answered."""
        mine = self.weights[:, [index for index, name in enumerate(_ageless(self.members)) if name in answers]]
        total = mine.sum(axis=1, keepdims=True)
        return np.where(total > 0, mine / np.where(total > 0, total, 1.0), 1 / len(answers))

    def save(self, folder: Path) -> None:
        """Write every member into a folder of its name, and what combines them."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, member in self.members.items():
            member.save(folder / name)
        if self.season_lift:
            self.season_lift.save(folder)
        (folder / DESCRIPTION_FILE).write_text(json.dumps(self._content(), indent=1) + "\n", encoding="utf-8")

    def describe(self) -> dict[str, Any]:
        """What it is, and each member."""
        return self._content() | {name: member.describe() for name, member in self.members.items()}

    def _content(self) -> dict[str, Any]:
        return {
            "kind": NAME,
            "format": FORMAT,
            "members": list(self.members),
            "weights": {
                name: dict(zip(_ageless(self.members), row, strict=True))
                for name, row in zip(CLASSES, self.weights.tolist(), strict=True)
            },
            "least_units": list(self.classes.least),
            "item_shares": self.item_shares.tolist(),
            "dependence": asdict(self.dependence),
            "handover_days": self.handover_days,
            **({SEASON_LIFT: self.season_lift.to_json()} if self.season_lift else {}),
            "failed": dict(self.failed),
            "report": asdict(self.report),
        }


def launches_of(fitted: Fitted) -> FittedLaunches | None:
    """The member that forecasts young series; None without one."""
    member = members_of(fitted).get(LAUNCHES)
    return member if isinstance(member, FittedLaunches) else None


def members_of(fitted: Fitted) -> Mapping[str, Fitted]:
    """The members of an ensemble; none of any other forecaster."""
    return fitted.members if isinstance(fitted, FittedEnsemble) else {}


def load_ensemble(folder: Path, load_member: Callable[[Path], Fitted]) -> FittedEnsemble:
    """Read back what `FittedEnsemble.save` wrote; a member that cannot be read is left out and named.

    Args:
        folder: where it was saved.
        load_member: reads one member's folder.

    Raises:
        ModelError: what combines them is missing, damaged, or of another format, or no member can be read.
    """
    path = folder / DESCRIPTION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("kind") != NAME or content.get("format") != FORMAT:
            raise ModelError(f"{path}: no ensemble of format {FORMAT}; train again with this version")
        failed = dict(content["failed"])
        members = _loaded(folder, content["members"], load_member, failed)
        report = TrainingReport(**content["report"])
        return FittedEnsemble(
            members=members,
            weights=np.array([[content["weights"][of][name] for name in _ageless(members)] for of in CLASSES]),
            classes=VolumeClasses(tuple(content["least_units"])),
            item_shares=np.array(content["item_shares"]),
            dependence=Dependence(**content["dependence"]),
            handover_days=float(content.get("handover_days", handover.USUAL_DAYS)),
            season_lift=SeasonLift.load(folder, content[SEASON_LIFT]) if SEASON_LIFT in content else None,
            failed=failed,
            report=replace(
                report, parts={name: TrainingReport(**part) for name, part in content["report"]["parts"].items()}
            ),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}: the stored ensemble cannot be read ({error}); train again") from error


def _loaded(
    folder: Path, names: Sequence[str], load_member: Callable[[Path], Fitted], failed: dict[str, str]
) -> dict[str, Fitted]:
    """Members that can be read; what they need beside their folder may be gone, and the others still answer.

    Raises:
        ModelError: none can, with the reason of each.
    """
    members: dict[str, Fitted] = {}
    for name in names:
        try:
            members[name] = load_member(folder / name)
        except ModelError as error:
            failed[name] = str(error)
    if not _ageless(members):
        raise ModelError(f"{folder}: no member of the stored ensemble can be read:\n{listed(failed)}")
    return members


def _held_back(panel: Panel, fitted: Mapping[str, Fitted], validation_days: int) -> int:
    """Last days that no member's validated weights have seen: an update, or a short horizon, holds back fewer."""
    theirs = [
        int(member.report.parameters["validation_days"])
        for member in fitted.values()
        if member.validated is not None and "validation_days" in member.report.parameters
    ]
    return max(1, min(validation_days, panel.history // 4, panel.horizon, *theirs))


def _combine(
    panel: Panel, fitted: Mapping[str, Fitted], failed: dict[str, str], held: int, settings: EnsembleSettings
) -> FittedEnsemble:
    """Weights and calibration from the last `held` days, of which the validated members have seen nothing."""
    origin = panel.history - held
    rows, stands_for = _spread(panel, origin)
    cut = panel.rows(rows).until(origin)
    actual = panel.units[rows, origin:].astype(np.float64)
    unseen = {name: member.validated or member for name, member in _ageless(fitted).items()}
    answers = asked(unseen, cut, held, failed)
    classes = VolumeClasses.of(panel)
    of_series = classes.index(cut)
    quantiles = {name: grid_of(answer)[..., IN_GRID] for name, answer in answers.items()}
    weights = class_weights(actual, quantiles, of_series, shrinkage=settings.shrinkage)
    average = weights.mean(axis=0)
    market = sum(share * fitted[name].dependence.market for share, name in zip(average, answers, strict=True))
    together = averaged(cut, answers, weights[of_series])
    level = level_share(panel, together, stands_for, float(market))
    dependence = Dependence(market=float(market), level=level)
    shares = np.full(len(CLASSES), dependence.item)
    if actual.sum() > 0:
        shares = item_shares(cut, together, actual, of_series, dependence, count=len(CLASSES))
    return FittedEnsemble(
        members={name: member for name, member in fitted.items() if name in answers or name == LAUNCHES},
        weights=weights,
        classes=classes,
        item_shares=shares,
        dependence=dependence,
        failed=failed,
    )


def _handover_days(panel: Panel, held: int, combined: FittedEnsemble) -> float:
    """Days of handing over, from young series on the last `held` days; see `handover.fitted_days`."""
    origin = panel.history - held
    rows = np.flatnonzero((panel.first_sold < origin) & (origin - panel.first_sold < handover.YOUNG_DAYS))
    launches = combined.members[LAUNCHES].validated if LAUNCHES in combined.members else None
    if launches is None or not len(rows):
        return handover.USUAL_DAYS
    rows = rows[:: -(-len(rows) // _SERIES)]
    cut, actual = panel.rows(rows).until(origin), panel.units[rows, origin:].astype(np.float64)
    unseen = {name: member.validated or member for name, member in _ageless(combined.members).items()}
    theirs = replace(combined, members=unseen).forecast(cut, held)
    answer = launches.forecast(cut, held)
    return handover.fitted_days(cut, actual, (theirs.mean, theirs.quantiles), (answer.mean, answer.quantiles))


def _ageless(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members that speak for all series."""
    return {name: member for name, member in members.items() if name != LAUNCHES}


def _spread(panel: Panel, origin: int) -> tuple[NDArray[np.int64], Array]:
    """Rows of series on sale before a column, in order: the best sellers, and others evenly from the rest.

    Returns:
        The R rows, and (R,) how many series each stands for: a best seller for itself.
    """
    units = panel.units[:, max(0, origin - 365) : origin].sum(axis=1, dtype=np.float64)
    ranked = np.argsort(-units, kind="stable")
    ranked = ranked[panel.first_sold[ranked] < origin]
    best, rest = ranked[: _SERIES // 2], ranked[_SERIES // 2 :]
    drawn = rest[:: max(1, -(-len(rest) // (_SERIES // 2)))]
    rows = np.concatenate([best, drawn]).astype(np.int64)
    stands_for = np.concatenate([np.ones(len(best)), np.full(len(drawn), len(rest) / max(len(drawn), 1))])
    order = np.argsort(rows)
    return rows[order], stands_for[order]


def _report(combined: FittedEnsemble, held: int, seconds: float) -> TrainingReport:
    parts = {name: member.report for name, member in combined.members.items()}
    weights = {
        f"weight_{name}_{of}": round(float(weight), 4)
        for of, row in zip(CLASSES, combined.weights, strict=True)
        for name, weight in zip(_ageless(combined.members), row, strict=True)
    }
    lift = combined.season_lift.to_json() if combined.season_lift else {}
    parameters = {
        "members": ", ".join(combined.members),
        "degraded": "; ".join(f"{name}: {why}" for name, why in combined.failed.items()),
        "validation_days": held,
        "handover_days": combined.handover_days,
        **{f"{SEASON_LIFT}_{name}": lift[name] for name in ("strength", "nights", "gain") if lift},
        **weights,
        **{f"item_share_{of}": float(share) for of, share in zip(CLASSES, combined.item_shares, strict=True)},
    }
    return TrainingReport(
        parameters,
        seconds=seconds,
        stopped="some members failed" if combined.failed else "all members fitted",
        parts=parts,
    )
