"""Pretrained encoders in MLflow: a registered model of their own per architecture, a version per pretraining."""

import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.models.networks.encoder import Encoder, load_encoder
from resources.training_run import TrainingRun

FOLDER = "encoder"


def encoder_name(model: str, kind: str) -> str:
    """Name of the registered model of an architecture's encoders."""
    return f"{model}-encoder-{kind}"


def register_encoder(client: Any, model: str, run: TrainingRun, encoder: Encoder, artifacts: Path) -> str:
    """Store an encoder with the run that pretrained it, and register it as the next version.

    Args:
        client: MLflow client of the store.
        model: name of the shop's model.
        run: the run that pretrained it.
        encoder: the encoder.
        artifacts: the store's folder of artefacts.

    Returns:
        Its version, as `name/number`.
    """
    from mlflow.exceptions import MlflowException

    name, place = encoder_name(model, encoder.kind), f"{FOLDER}/{encoder.kind}"
    with tempfile.TemporaryDirectory() as scratch:
        encoder.save(Path(scratch))
        client.log_artifacts(run.run_id, scratch, place)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(
        name,
        source=(artifacts / run.run_id / "artifacts" / place).as_uri(),
        run_id=run.run_id,
        tags={"as_of": encoder.as_of.isoformat(), "kind": encoder.kind, "weights": encoder.hash},
    )
    return f"{made.name}/{made.version}"


def newest_encoder(
    client: Any, model: str, kind: str, *, not_after: date, not_before: date, artifacts: Path
) -> Encoder | None:
    """The newest encoder of an architecture that a night could know and that is not too old; None without one.

    Args:
        client: MLflow client of the store.
        model: name of the shop's model.
        kind: architecture.
        not_after: the night.
        not_before: oldest night of pretraining.
        artifacts: the store's folder of artefacts.
    """
    found = client.search_model_versions(f"name = '{encoder_name(model, kind)}'")
    known = [one for one in found if not_before <= date.fromisoformat(one.tags["as_of"]) <= not_after]
    for one in sorted(known, key=lambda one: (one.tags["as_of"], int(one.version)), reverse=True):
        # by its place in the home, for the address that MLflow keeps is absolute
        folder = artifacts / one.run_id / "artifacts" / FOLDER / kind
        try:
            return load_encoder(folder)
        except ModelError:
            continue  # gone, damaged or of an older Almanac: an older one serves, or tonight's training makes a new one
    return None
