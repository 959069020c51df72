"""Fine-tuning of a pretrained time-series model with LoRA, by the model's own loss.

One small loop for both families rather than `Chronos2Pipeline.fit`: that one draws from NumPy's global state, counts
steps but not seconds, writes the optimiser's pickles, and Chronos-Bolt has none. The last days are held back to choose
the best weights, the untouched ones among them, and are not learned afterwards.
"""

import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HistoryError, ModelError
from pipeline.model_settings import FineTuningSettings
from pipeline.models.base import Compute, Progress, TrainingReport
from pipeline.models.pretrained.base import Pretrained
from pipeline.models.pretrained.prediction import predict
from pipeline.models.pretrained.quantile_function import QuantileFunction
from pipeline.models.pretrained.windows import Windows
from pipeline.models.quantiles import WQL_LEVELS, pinball

DEFAULT_TARGETS = ("q", "v")
"""Query and value of the attention, by the names that both families give them."""
ADAPTER = "default"
_MIN_PAST = 28
_MIN_AHEAD = 7
_VALIDATED_SERIES = 64
_VALIDATIONS = 10


@dataclass(frozen=True)
class Tuning:
    """What one fine-tuning may do.

    Attributes:
        settings: rank, rates, batch and epochs.
        seed: of windows, adapters and dropout.
        max_seconds: budget.
        known_days: days of history to learn from; the rest validates.
        horizon: days ahead that are learned.
    """

    settings: FineTuningSettings
    seed: int
    max_seconds: float
    known_days: int
    horizon: int


def adapter_config(settings: FineTuningSettings) -> dict[str, Any]:
    """What makes an adapter, as JSON."""
    return {
        "rank": settings.rank,
        "alpha": settings.alpha,
        "target_modules": sorted(settings.target_modules or DEFAULT_TARGETS),
        "dropout": settings.dropout,
    }


def add_adapter(network: Any, config: Mapping[str, Any]) -> None:
    """Put LoRA beside the layers of a network, which changes nothing that it answers until it has learned.

    Raises:
        ModelError: the network has no such layers.
    """
    from peft import LoraConfig, inject_adapter_in_model

    names = [name for name, _ in network.named_modules()]
    lacking = [
        wanted
        for wanted in config["target_modules"]
        if not any(name == wanted or name.endswith(f".{wanted}") for name in names)
    ]
    if lacking:
        ends = sorted(
            {name.rsplit(".", 1)[-1] for name, part in network.named_modules() if hasattr(part, "in_features")}
        )
        raise ModelError(
            f"fine_tuning.target_modules in almanac.yaml: the model has no layers {', '.join(lacking)}; "
            f"it has {', '.join(ends)}"
        )
    lora = LoraConfig(
        r=config["rank"],
        lora_alpha=config["alpha"],
        lora_dropout=config["dropout"],
        target_modules=list(config["target_modules"]),
    )
    inject_adapter_in_model(lora, network, adapter_name=ADAPTER)
    network.eval()


def adapter_weights(network: Any) -> dict[str, Any]:
    """A copy of what the adapters have learned, on the CPU."""
    from peft import get_peft_model_state_dict

    weights = get_peft_model_state_dict(network, adapter_name=ADAPTER)
    return {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}


def set_adapter_weights(network: Any, weights: Mapping[str, Any]) -> None:
    """Undo `adapter_weights`.

    Raises:
        ModelError: they belong to other layers, or to an adapter of another size.
    """
    from peft import set_peft_model_state_dict

    expected = {name: tuple(value.shape) for name, value in adapter_weights(network).items()}
    if expected != {name: tuple(value.shape) for name, value in weights.items()}:
        raise ModelError("the stored adapter does not fit the layers of the pretrained model; train again")
    set_peft_model_state_dict(network, dict(weights), adapter_name=ADAPTER)


def tune(model: Pretrained, windows: Windows, tuning: Tuning, compute: Compute, progress: Progress) -> TrainingReport:
    """Fine-tune the adapters of a model, in place, and leave them as they validated best.

    Raises:
        HistoryError: no series is old enough to learn from.
        ModelError: the loss is not finite.
    """
    started = time.monotonic()
    settings, network = tuning.settings, model.network
    drawn = np.random.default_rng([tuning.seed, 97])
    old_enough = np.flatnonzero(windows.first_sold + _MIN_PAST + _MIN_AHEAD <= tuning.known_days)
    if not len(old_enough):
        raise HistoryError(
            f"no series has {_MIN_PAST + _MIN_AHEAD} days of sales before the days held back, so there is nothing to "
            "fine-tune chronos on; choose a later --as-of, or set members.chronos.fine_tune: false in almanac.yaml"
        )
    examples = int(np.ceil((tuning.known_days - windows.first_sold[old_enough]) / tuning.horizon).sum())
    steps = max(1, math.ceil(settings.epochs * examples / settings.batch_size))
    learn = _Learning(model, windows, tuning, compute, (drawn, old_enough))
    weights = learn.weights
    optimizer = _optimizer(settings, weights)
    validate = _Validation(model, windows, tuning, drawn)
    best, best_score, best_step, worse = adapter_weights(network), validate(), 0, 0
    validating = time.monotonic() - started
    curve, at = [best_score], [0]
    losses: list[float] = []
    step, stopped, every = 0, "steps", max(1, steps // _VALIDATIONS)
    while step < steps:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _share_of_rate(step, steps, settings.warmup_share)
        loss = learn(optimizer)
        if not math.isfinite(loss):
            raise ModelError(
                f"fine-tuning chronos diverged at step {step + 1}; lower fine_tuning.learning_rate in almanac.yaml"
            )
        step += 1
        progress("fine-tune chronos", step, steps)
        losses = losses or [loss]
        late = time.monotonic() - started + validating > tuning.max_seconds
        if step % every == 0 or step == steps or late:
            score = validate()
            curve.append(score)
            at.append(step)
            losses.append(loss)
            worse += 1
            if score < best_score:
                best, best_score, best_step, worse = adapter_weights(network), score, step, 0
            if late or worse >= settings.patience:
                stopped = "seconds" if late else "early stopping"
                break
    set_adapter_weights(network, best)
    network.eval()
    parameters = {
        **adapter_config(settings),
        "weights": sum(weight.numel() for weight in weights),
        "steps": step,
        "best_step": best_step,
        "zero_shot_validation_wql": curve[0],
        "best_validation_wql": best_score,
    }
    curves = {"validation_wql": curve, "training_loss": losses}
    return TrainingReport(parameters, curves, at, time.monotonic() - started, stopped)


class _Learning:
    """Steps of the optimiser, each on new windows."""

    def __init__(
        self,
        model: Pretrained,
        windows: Windows,
        tuning: Tuning,
        compute: Compute,
        drawing: tuple[np.random.Generator, NDArray[np.int64]],
    ) -> None:
        self.weights = [weight for weight in model.network.parameters() if weight.requires_grad]
        self._model, self._windows, self._tuning, self._compute = model, windows, tuning, compute
        self._drawn, self._series = drawing

    def __call__(self, optimizer: Any) -> float:
        """One step; its loss, before which nothing is learned that is not finite."""
        import torch

        settings, loss = self._tuning.settings, 0.0
        self._model.network.train()
        for part in np.array_split(np.arange(settings.batch_size), min(settings.accumulate, settings.batch_size)):
            window = _draw(self._drawn, self._windows, self._series, self._tuning.known_days, len(part))
            with _precision(settings, self._compute):
                share = _loss(self._model, self._windows, *window, self._tuning) * (len(part) / settings.batch_size)
            share.backward()
            loss += float(share.detach())
        if math.isfinite(loss):
            torch.nn.utils.clip_grad_norm_(self.weights, settings.clip)
            optimizer.step()
        optimizer.zero_grad()
        return loss


class _Validation:
    """WQL of the days held back, for some of the series that had sold before them."""

    def __init__(self, model: Pretrained, windows: Windows, tuning: Tuning, drawn: np.random.Generator) -> None:
        self._model, self._windows = model, windows
        sold = np.flatnonzero(windows.first_sold < tuning.known_days)
        self._series = np.sort(drawn.permutation(sold)[:_VALIDATED_SERIES])
        self._nights = np.full(len(self._series), tuning.known_days - 1)
        self._horizon = windows.history - tuning.known_days
        self._actual = windows.targets(self._series, self._nights, self._horizon, windows.history)

    def __call__(self) -> float:
        values = predict(self._model, self._windows, self._series, self._nights, self._horizon)
        quantiles = QuantileFunction.of(self._model.levels, values).at(WQL_LEVELS)
        known = ~np.isnan(self._actual)
        actual = self._actual[known].astype(np.float64)
        loss = 2.0 * pinball(actual, quantiles[known], np.array(WQL_LEVELS)).mean(axis=1).sum()
        return float(loss / max(actual.sum(), 1.0))


def _draw(
    drawn: np.random.Generator, windows: Windows, old_enough: NDArray[np.int64], known_days: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Series and nights of so many windows: a series, then any of its nights with enough days behind and ahead."""
    series = drawn.choice(old_enough, count)
    first, last = windows.first_sold[series] + _MIN_PAST - 1, known_days - 1 - _MIN_AHEAD
    return series, drawn.integers(first, last + 1)


def _loss(
    model: Pretrained,
    windows: Windows,
    series: NDArray[np.int64],
    nights: NDArray[np.int64],
    tuning: Tuning,
) -> Any:
    """The model's own loss of some windows."""
    import torch

    network = model.network
    device = network.device
    past = torch.from_numpy(windows.past(series, nights)).to(device)
    target = torch.from_numpy(windows.targets(series, nights, tuning.horizon, tuning.known_days)).to(device)
    if model.base.family == "chronos-bolt":
        return network(context=past[:, 0], target=target).loss
    count, rows, _ = past.shape
    ahead = torch.from_numpy(windows.ahead(series, nights, tuning.horizon)).to(device)
    future = torch.full_like(ahead, torch.nan)
    future[:, 0] = target
    return network(
        context=past.flatten(0, 1),
        group_ids=torch.arange(count, device=device).repeat_interleave(rows),
        future_covariates=ahead.flatten(0, 1),
        future_target=future.flatten(0, 1),
        num_output_patches=math.ceil(tuning.horizon / network.chronos_config.output_patch_size),
    ).loss


def _optimizer(settings: FineTuningSettings, weights: list[Any]) -> Any:
    import torch

    if settings.optimizer == "sgd":
        return torch.optim.SGD(weights, lr=settings.learning_rate, momentum=0.9, weight_decay=settings.weight_decay)
    return torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _share_of_rate(step: int, steps: int, warmup_share: float) -> float:
    """Rising on the first steps, then falling to 0."""
    warmup = round(warmup_share * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 1.0 - (step - warmup) / max(1, steps - warmup)


def _precision(settings: FineTuningSettings, compute: Compute) -> Any:
    import torch

    if not compute.mixed_precision or settings.precision not in {"auto", "bf16"}:
        return nullcontext()
    return torch.autocast(compute.device, torch.bfloat16)
