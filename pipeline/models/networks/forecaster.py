"""The forecaster of a network: one network for all series of a shop, of any architecture.

Reads the history (demand, prices, promotions), the known future (calendar, announced promotions and price cuts, closed days)
and what an item is (text, category); answers with a distribution of units per day. Stored as
`model.safetensors` and `model.json`, nothing else.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.model_settings import TrainingSettings
from pipeline.models.base import Array, Compute, Dependence, Fitted, Forecast, Progress, TrainingReport, silent
from pipeline.models.history import LOOKBACK_DAYS, require_history, unseen_days
from pipeline.models.networks.architectures import ARCHITECTURES, architecture
from pipeline.models.panel import Panel
from pipeline.models.quantiles import GRID_LEVELS, whole_units
from pipeline.settings import QUANTILES

if TYPE_CHECKING:
    from pipeline.models.networks.encoder import Encoder
    from pipeline.models.networks.network import Network
    from pipeline.models.networks.spec import FeatureSpec

WEIGHTS_FILE = "model.safetensors"
MODEL_FILE = "model.json"
FORMAT = 2
_IN_GRID = [GRID_LEVELS.index(level) for level in QUANTILES]
"""Places of the contract's levels in the grid: its whole units are those of the grid, rounded."""

_ROWS_AT_ONCE = 256
"""Rows forecast at once, the last ones repeated to fill up: matrix kernels choose their order of summing by the shape, so
only equal shapes give equal bytes for the same row in any slice."""
_SCALER_WINDOWS = 8192
_DEPENDENCE_DAYS = 28
"""Days held back below which an update keeps the dependence of its start: a week says nothing of how days move together."""


@dataclass(frozen=True)
class NetworkForecaster:
    """The forecaster of one architecture with its settings.

    Attributes:
        settings: steps, seconds, sizes, rates, seed.
        name: architecture, which is also its name in the registry.
        encoder: a pretrained encoder to start a new network from, where it fits; else the training pretrains its own.
    """

    settings: TrainingSettings
    name: str
    encoder: "Encoder | None" = None

    def fit(
        self,
        panel: Panel,
        *,
        folder: Path,
        compute: Compute,
        progress: Progress = silent,
        start: Fitted | None = None,
    ) -> "FittedNetwork":
        """Train on all history of the panel; see `pipeline.models.base.Forecaster`.

        With `start` its weights are trained on, for a few steps: sizes, features and scalers stay those of `start`.

        Raises:
            HistoryError: less history than `training.min_history_days`, or nothing sold.
            ModelError: the training diverged, or has too few seconds or too little memory; or `start` is another network, has
                seen all days of the panel, or reads text vectors of another size.
        """
        import torch

        from pipeline.models.networks.checkpoint import fingerprint, weights_hash
        from pipeline.models.networks.encoder import Encoder
        from pipeline.models.networks.features import Windows
        from pipeline.models.networks.network import NetworkSizes
        from pipeline.models.networks.schedule import Course, torch_threads
        from pipeline.models.networks.training import Training

        require_history(panel, self.settings, self.name)
        network_class = architecture(self.name)
        device = compute.usable_device
        unseen = 0
        if start is None:
            course = Course.full(self.settings, panel)
        else:
            start, unseen = _start(self.name, start, panel)
            course = Course.update(self.settings, panel.history, panel.horizon, unseen)
        with torch_threads(compute.threads):
            spec = start.spec if start else self._spec(panel)
            windows = Windows(panel, spec, device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed)
            sizes = (
                start.network.sizes
                if start
                else NetworkSizes.of(spec, self.settings.hidden * network_class.widening, self.settings.dropout)
            )
            network = network_class(sizes).to(device)
        shaping = self.settings.model_dump(mode="json") | {
            "device": device,
            "mixed_precision": compute.mixed_precision,
            "kind": self.name,
            "format": FORMAT,
            "course": asdict(course),
        }
        started_from = ""
        if start:
            network.load_state_dict(start.network.state_dict())
            shaping["start"] = weights_hash(start.network)
        elif self.encoder is not None and self.encoder.fits(network):
            self.encoder.put_into(network)
            course = course.without_pretraining()
            started_from = shaping["encoder"] = self.encoder.hash
        training = Training(
            network,
            windows,
            self.settings,
            replace(compute, device=device),
            course,
            folder=folder,
            mark=fingerprint(panel, shaping),
            progress=progress,
        )
        state = training.run()
        parameters = {
            "series": panel.series,
            "history_days": panel.history,
            "horizon_days": panel.horizon,
            "validation_days": training.validation_days,
            "weights": sum(p.numel() for p in network.parameters()),
            "best_step": state.best_step,
            "best_validation_wql": state.score,
            "recoveries": state.recoveries,
            "halved": state.halved,
            "year_ago": spec.year_ago,
            "calendar_features": len(spec.calendar_names),
            "unseen_days": unseen if start else panel.history,
            "budget": state.budget,
            "encoder": started_from or ("its own" if training.encoder else "none"),
            **{f"steps_{phase}": steps for phase, steps in state.steps.items()},
        }
        report = TrainingReport(parameters, state.curves, state.curve_steps, state.seconds, state.stopped)
        trained_on = {"first_day": panel.first_day.isoformat(), "as_of": panel.as_of.isoformat()}
        dependence = Dependence(**state.dependence)
        if start and training.validation_days < _DEPENDENCE_DAYS:
            dependence = start.dependence
        fitted = FittedNetwork(self.name, network.to("cpu").eval(), spec, dependence, report, trained_on, compute)
        held_back = network_class(network.sizes)
        held_back.load_state_dict(training.best)
        encoder, steps = None, state.steps["pretrain"]
        # later networks start from it for months: half a pretraining is for this one alone
        if training.encoder and steps == self.settings.pretrain_steps:
            encoder = Encoder(self.name, panel.as_of, training.encoder, steps, losses=tuple(state.pretraining))
        return replace(fitted, validated=replace(fitted, network=held_back.eval()), encoder=encoder)

    def _spec(self, panel: Panel) -> "FeatureSpec":
        """What to read, and scalers fitted on training windows before the validation days only."""
        import torch

        from pipeline.models.networks.features import Windows
        from pipeline.models.networks.scaling import StandardScaler
        from pipeline.models.networks.schedule import Sampler, validation_days
        from pipeline.models.networks.spec import FeatureSpec

        known = panel.history - validation_days(panel.history, self.settings.validation_days, panel.horizon)
        spec = FeatureSpec.learn(panel, known, self.settings.history_days)
        windows = Windows(panel, spec)
        sampler = Sampler.of(windows.units, windows.first_sold, known)
        rows, nights = sampler.draw(np.random.default_rng([self.settings.seed, 98]), _SCALER_WINDOWS)
        raw = windows.raw_levels(torch.as_tensor(rows), torch.as_tensor(nights)).numpy()
        return replace(spec, levels=StandardScaler.fit(raw))


@dataclass(frozen=True)
class FittedNetwork:
    """A trained network, ready for any panel of the shop."""

    name: str
    network: "Network"
    spec: "FeatureSpec"
    dependence: Dependence
    report: TrainingReport
    trained_on: Mapping[str, str]
    compute: Compute = field(default_factory=Compute)
    lookback_days: int = LOOKBACK_DAYS
    validated: "FittedNetwork | None" = None
    encoder: "Encoder | None" = None

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Progress = silent) -> Forecast:
        """Forecast `horizon` days after the panel's night; see `pipeline.models.base.Fitted`.

        Raises:
            ModelError: the panel knows the calendar for fewer days, or has text vectors of another language model; or the
                GPU's memory does not suffice for a single series.
        """
        from pipeline.models.networks.memory import in_parts
        from pipeline.models.networks.schedule import torch_threads

        if horizon > panel.horizon:
            raise ModelError(
                f"asked for {horizon} days, but the panel knows the calendar of {panel.horizon} days ahead"
            )
        with torch_threads(self.compute.threads):
            forecast, _ = in_parts(
                lambda parts: self._forecast_in(_ROWS_AT_ONCE // parts, panel, horizon, grid=grid, progress=progress),
                halved=0,
                most=_ROWS_AT_ONCE,
                tell=lambda parts: progress(f"forecast, out of memory: {_ROWS_AT_ONCE // parts} series at once", 0, 1),
                refusal=f"the GPU's memory does not suffice for the {self.name} to forecast a single series; set "
                "compute.device: cpu in almanac.yaml, or leave other work off the GPU",
            )
        return forecast

    def _forecast_in(self, size: int, panel: Panel, horizon: int, *, grid: bool, progress: Progress) -> Forecast:
        """The forecast, so many rows at once."""
        shape = (panel.series, horizon)
        mean = np.zeros(shape)
        quantiles = np.zeros((*shape, len(QUANTILES)))
        finer = np.zeros((*shape, len(GRID_LEVELS))) if grid else None
        device = self.compute.usable_device
        network = self.network.to(device)
        for start in range(0, panel.series, size):
            rows = slice(start, start + size)
            filled = panel.rows(np.minimum(np.arange(start, start + size), panel.series - 1))
            count = min(size, panel.series - start)
            some_mean, some_quantiles, some_grid = self._forecast_rows(network, filled, horizon, device, grid)
            mean[rows], quantiles[rows] = some_mean[:count], some_quantiles[:count]
            if finer is not None and some_grid is not None:
                finer[rows] = some_grid[:count]
            progress("forecast", min(start + size, panel.series), panel.series)
        return Forecast(mean, whole_units(quantiles), finer, np.array(GRID_LEVELS) if grid else None)

    def _forecast_rows(
        self, network: "Network", panel: Panel, horizon: int, device: str, grid: bool
    ) -> tuple[NDArray[Any], NDArray[Any], Array | None]:
        import torch

        from pipeline.models.networks.features import Windows

        network.eval()
        with torch.inference_mode():
            windows = Windows(panel, self.spec, device)
            rows = torch.arange(panel.series, device=device)
            batch = windows.cut(rows, torch.full_like(rows, panel.history - 1), windows.leads(horizon))
            likelihood = network(batch).double()
            # nothing is sold while the shop is closed: training never asked the network about such days
            mean = likelihood.mean().float() * batch.open
            open_days = batch.open.unsqueeze(-1)
            if not grid:
                quantiles = likelihood.quantiles(_levels(QUANTILES, device)).float() * open_days
                return mean.cpu().numpy(), quantiles.cpu().numpy(), None
            fine = likelihood.quantiles(_levels(GRID_LEVELS, device), whole=False)
            quantiles = torch.ceil(fine[..., _IN_GRID] - 0.5).clamp(min=0.0).float() * open_days
            fine = fine.float() * open_days
            return mean.cpu().numpy(), quantiles.cpu().numpy(), fine.cpu().numpy()

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and everything else (JSON)."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.cpu().contiguous() for name, value in self.network.state_dict().items()}
        save_file(weights, folder / WEIGHTS_FILE)
        content = {
            "kind": self.name,
            "format": FORMAT,
            "sizes": self.network.sizes.to_json(),
            "features": self.spec.to_json(),
            "dependence": asdict(self.dependence),
            "report": asdict(self.report),
            "trained_on": dict(self.trained_on),
        }
        (folder / MODEL_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def describe(self) -> dict[str, Any]:
        """What it is: kind, sizes, features, training window."""
        features = self.spec.to_json()
        return {
            "kind": self.name,
            "sizes": self.network.sizes.to_json(),
            "features": features,
            "scalers": {name: features[name] for name in ("levels", "calendar", "series")},
            "trained_on": dict(self.trained_on),
            "dependence": asdict(self.dependence),
            "stopped": self.report.stopped,
        }


def load_network(folder: Path, compute: Compute | None = None) -> FittedNetwork:
    """Read back what `FittedNetwork.save` wrote.

    Raises:
        ModelError: a file is missing, damaged, or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from pipeline.models.networks.network import NetworkSizes
    from pipeline.models.networks.spec import FeatureSpec

    try:
        content = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))
        kind = content.get("kind")
        if kind not in ARCHITECTURES or content.get("format") != FORMAT:
            raise ModelError(f"{folder / MODEL_FILE}: no network of format {FORMAT}; train again with this version")
        network = architecture(kind)(NetworkSizes(**content["sizes"]))
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))
        return FittedNetwork(
            kind,
            network.eval(),
            FeatureSpec.from_json(content["features"]),
            Dependence(**content["dependence"]),
            TrainingReport(**content["report"]),
            content["trained_on"],
            compute or Compute(),
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: the stored network cannot be read ({error}); train again") from error


def _start(name: str, start: Fitted, panel: Panel) -> tuple["FittedNetwork", int]:
    """What an update starts from, and how many days of the panel it has not seen."""
    if not isinstance(start, FittedNetwork) or start.name != name:
        raise ModelError(f"a {name} cannot go on from a {start.name!r}; train a new one")
    return start, unseen_days(name, start.trained_on["as_of"], panel)


def _levels(levels: tuple[float, ...], device: str) -> Any:
    import torch

    return torch.tensor(levels, dtype=torch.float32, device=device)
