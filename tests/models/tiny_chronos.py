"""Chronos models of a few thousand random weights, as folders that the real ones could stand in for."""

from pathlib import Path

from pipeline.model_settings import ChronosSettings, FineTuningSettings, TrainingSettings
from pipeline.models.base import Compute
from pipeline.models.chronos import Chronos
from tests.models.network_panels import shop_panel

FAMILIES = ("chronos-bolt", "chronos-2")
ONE_THREAD = Compute(threads=1)


def forecaster(folder, *, fine_tune=False, max_seconds=60.0, layers=(), **more):
    """A forecaster with the model of a folder; fine-tuned in a moment."""
    settings = ChronosSettings(
        on=True, model=str(folder), fine_tune=fine_tune, max_seconds=max_seconds, target_modules=layers
    )
    lengths = {"batch_size": 8, "epochs": 0.25, "learning_rate": 0.02, "rank": 2, "alpha": 4, "accumulate": 2, **more}
    return Chronos(settings, FineTuningSettings(**lengths), TrainingSettings(validation_days=8))


def fit(folder, panel, **more):
    """Zero-shot."""
    return forecaster(folder, **more).fit(panel, folder=None, compute=ONE_THREAD)


def some(panel_series=6, **more):
    """A panel of 140 days."""
    return shop_panel(panel_series, 140, 21, **more)


def write_tiny(folder: Path, family: str, *, seed: int = 0) -> Path:
    """Write a checkpoint of random weights: its forecasts say nothing, but they are those of a network that reads."""
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _bolt() if family == "chronos-bolt" else _chronos_2()
        for weight in network.parameters():
            weight.data += 0.1 * torch.randn_like(weight)
    network.save_pretrained(folder)
    return folder


def _bolt():
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from transformers import T5Config

    config = T5Config(
        d_model=16, d_kv=8, d_ff=16, num_layers=1, num_decoder_layers=1, num_heads=2, is_encoder_decoder=True,
        dense_act_fn="relu", pad_token_id=0, decoder_start_token_id=0, architectures=["ChronosBoltModelForForecasting"],
    )  # fmt: skip
    config.chronos_pipeline_class = "ChronosBoltPipeline"
    config.chronos_config = {
        "context_length": 64, "prediction_length": 8, "input_patch_size": 8, "input_patch_stride": 8,
        "quantiles": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "use_reg_token": True,
    }  # fmt: skip
    return ChronosBoltModelForForecasting(config)


def _chronos_2():
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos2.config import Chronos2CoreConfig

    config = Chronos2CoreConfig(
        d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, architectures=["Chronos2Model"],
        chronos_pipeline_class="Chronos2Pipeline",
        chronos_config={
            "context_length": 64, "output_patch_size": 8, "input_patch_size": 8, "input_patch_stride": 8,
            "quantiles": [0.01, 0.05, *(round(0.1 * k, 1) for k in range(1, 10)), 0.95, 0.99],
            "use_reg_token": True, "use_arcsinh": True, "max_output_patches": 4, "time_encoding_scale": 64,
        },
    )  # fmt: skip
    return Chronos2Model(config)
