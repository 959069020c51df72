"""The night's model: the members that are on, each fitted for itself, averaged quantile by quantile.

A member that cannot be fitted, or cannot answer, is left out and named, and the night goes on with the others: a degraded
night. Weights per volume class, and how days move together, come from days that no member has seen (`weights.py`,
`calibration.py`); what the night forecasts with has then learned those days too. How sums are spread is taken from the
first member that learned it.
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
from pipeline.models.panel import Panel
from pipeline.models.quantiles import GRID_LEVELS, whole_units
from pipeline.models.rare_sales import order_sizes, with_rare_sales
from pipeline.models.weights import CLASSES, VolumeClasses, class_weights
from pipeline.settings import QUANTILES

NAME = "ensemble"
DESCRIPTION_FILE = "ensemble.json"
FORMAT = 1
_IN_GRID = [GRID_LEVELS.index(level) for level in QUANTILES]
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
                    progress=_within(name, progress),
                    start=start.members.get(name) if start else None,
                )
            except HistoryError as error:
                failed[name] = str(error)
                too_short.append(error)
            except TransientError:
                raise  # the night is tried again, and has the member then
            except Exception as error:  # whatever a library trips over must not stop the night
                heed_stop(error)
                failed[name] = f"{type(error).__name__}: {error}"
        if not fitted:
            if len(too_short) == len(failed) and too_short:
                raise too_short[0]
            raise ModelError("no member of the ensemble could be fitted:\n" + _listed(failed))
        held = _held_back(panel, fitted, self.validation_days)
        combined = _combine(panel, fitted, failed, held, self.settings)
        combined = replace(combined, report=_report(combined, held, time.perf_counter() - began))
        unseen = {name: member.validated or member for name, member in combined.members.items()}
        return replace(combined, validated=replace(combined, members=unseen))


@dataclass(frozen=True)
class FittedEnsemble:
    """Fitted members with their weights, ready for any panel of the shop.

    Attributes:
        members: name → fitted member.
        weights: (classes, members) weights.
        classes: where volume classes begin.
        dependence: how days and items move together, all series alike.
        item_shares: (classes,) share of variance common to all days of a series, per class.
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
        answers = _asked(self.members, panel, horizon, failed, progress)
        classes = self.classes.index(panel)
        answer = _averaged(panel, answers, self._weights_of(answers)[classes])
        return replace(
            answer,
            grid=answer.grid if grid else None,
            grid_levels=answer.grid_levels if grid else None,
            item_share=self.item_shares[classes],
            failed=failed,
        )

    def _weights_of(self, answers: Mapping[str, Forecast]) -> Array:
        """(classes, answers) weights of those who answered."""
        mine = self.weights[:, [index for index, name in enumerate(self.members) if name in answers]]
        total = mine.sum(axis=1, keepdims=True)
        return np.where(total > 0, mine / np.where(total > 0, total, 1.0), 1 / len(answers))

    def save(self, folder: Path) -> None:
        """Write every member into a folder of its name, and what combines them."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, member in self.members.items():
            member.save(folder / name)
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
                name: dict(zip(self.members, row, strict=True))
                for name, row in zip(CLASSES, self.weights.tolist(), strict=True)
            },
            "least_units": list(self.classes.least),
            "item_shares": self.item_shares.tolist(),
            "dependence": asdict(self.dependence),
            "failed": dict(self.failed),
            "report": asdict(self.report),
        }


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
            weights=np.array([[content["weights"][of][name] for name in members] for of in CLASSES]),
            classes=VolumeClasses(tuple(content["least_units"])),
            item_shares=np.array(content["item_shares"]),
            dependence=Dependence(**content["dependence"]),
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
    if not members:
        raise ModelError(f"{folder}: no member of the stored ensemble can be read:\n{_listed(failed)}")
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
    answers = _asked({name: member.validated or member for name, member in fitted.items()}, cut, held, failed)
    classes = VolumeClasses.of(panel)
    of_series = classes.index(cut)
    quantiles = {name: _grid_of(answer)[..., _IN_GRID] for name, answer in answers.items()}
    weights = class_weights(actual, quantiles, of_series, shrinkage=settings.shrinkage)
    average = weights.mean(axis=0)
    market = sum(share * fitted[name].dependence.market for share, name in zip(average, answers, strict=True))
    together = _averaged(cut, answers, weights[of_series])
    level = level_share(panel, together, stands_for, float(market))
    dependence = Dependence(market=float(market), level=level)
    shares = np.full(len(CLASSES), dependence.item)
    if actual.sum() > 0:
        shares = item_shares(cut, together, actual, of_series, dependence, count=len(CLASSES))
    return FittedEnsemble(
        members={name: fitted[name] for name in answers},
        weights=weights,
        classes=classes,
        item_shares=shares,
        dependence=dependence,
        failed=failed,
    )


def _averaged(panel: Panel, answers: Mapping[str, Forecast], share: Array) -> Forecast:
    """Average of the answers with (S, answers) shares; what no member learned of rare sales is added."""
    series, horizon = next(iter(answers.values())).mean.shape
    mean = np.zeros((series, horizon))
    finer = np.zeros((series, horizon, len(GRID_LEVELS)))
    for weight, answer in zip(share.T, answers.values(), strict=True):
        mean += weight[:, None] * answer.mean
        finer += weight[:, None, None] * _grid_of(answer)
    return Forecast(
        mean,
        whole_units(finer[..., _IN_GRID]),
        with_rare_sales(finer, mean, order_sizes(panel)),
        np.array(GRID_LEVELS),
        fallbacks=max(answer.fallbacks for answer in answers.values()),
        stretches=next((each.stretches for each in answers.values() if each.stretches), None),
    )


def _asked(
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
            answer = member.forecast(panel, horizon, grid=True, progress=_within(name, progress))
            if not (np.isfinite(answer.mean).all() and np.isfinite(_grid_of(answer)).all()):
                raise ModelError("answered with numbers that are not finite")
            answers[name] = answer
        except TransientError:
            raise
        except Exception as error:  # see `Ensemble.fit`
            heed_stop(error)
            failed[name] = f"{type(error).__name__}: {error}"
    if not answers:
        raise ModelError("no member of the ensemble could answer:\n" + _listed(failed))
    return answers


def _grid_of(answer: Forecast) -> NDArray[Any]:
    """(S, H, G) grid of an answer at the levels of the house."""
    if answer.grid is None or answer.grid_levels is None or not np.array_equal(answer.grid_levels, GRID_LEVELS):
        raise ModelError("answered without the grid that it was asked for")
    return answer.grid


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
        for name, weight in zip(combined.members, row, strict=True)
    }
    parameters = {
        "members": ", ".join(combined.members),
        "degraded": "; ".join(f"{name}: {why}" for name, why in combined.failed.items()),
        "validation_days": held,
        **weights,
        **{f"item_share_{of}": float(share) for of, share in zip(CLASSES, combined.item_shares, strict=True)},
    }
    return TrainingReport(
        parameters,
        seconds=seconds,
        stopped="some members failed" if combined.failed else "all members fitted",
        parts=parts,
    )


def _listed(failed: Mapping[str, str]) -> str:
    return "\n".join(f"  {name}: {why}" for name, why in failed.items())


def _within(name: str, progress: Progress) -> Progress:
    """Progress within one member's work."""

    def tell(what: str, done: int, of: int) -> None:
        progress(name if what == name else f"{name}, {what}", done, of)

    return tell
