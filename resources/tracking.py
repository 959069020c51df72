"""MLflow of one home: a run per training, model versions, and the alias `champion`.

The store is the home's own (`mlflow/mlflow.db`, artefacts in `mlflow/artifacts`), so shops, tests and backfills never
meet.

What belongs here: runs, versions and champions. Beside it: `champions.py` (who is champion when), `mlflow_store.py` (where
the store is), `training_run.py` (what is logged), `served_version.py` (how a model is stored). What does not: what a model is
(`pipeline/models`), how a plot is drawn or a served model predicts (`pipeline/tracking`).
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import dagster as dg

from pipeline.errors import ModelError
from pipeline.models.base import Compute, Fitted
from pipeline.models.networks.encoder import Encoder
from pipeline.models.panel import Panel
from pipeline.settings import Settings
from resources.champions import Enthroned, before, champion_of, promotions, refuse_later, roll_backs
from resources.encoders import newest_encoder, register_encoder
from resources.mlflow_store import MlflowStore
from resources.model_version import ModelVersion, model_name
from resources.served_version import save_served_version
from resources.training_run import RECIPE, TrainingRun

__all__ = ("CHAMPION", "ModelVersion", "Tracking", "TrackingResource", "model_name")

CHAMPION = "champion"
_PROMOTED = "promoted"
_SHAPING = ("training", "members", "ensemble", "fine_tuning", "language_model")
"""Sections of the settings that become parameters of a training's run."""


class Tracking:
    """The MLflow store of one home."""

    def __init__(self, home: Path, shop: str) -> None:
        """Take a home and its shop's name; the store is opened, and made, when first used."""
        self.store = MlflowStore(home)
        self.name = model_name(shop)

    @property
    def client(self) -> Any:
        """MLflow's client of the store."""
        return self.store.client

    @cached_property
    def experiment_id(self) -> str:
        """The experiment of the home's trainings, made when first asked for."""
        place = self.store.artifacts.as_uri()
        found = self.client.get_experiment_by_name(self.name)
        if found is not None and found.artifact_location.rstrip("/") == place:
            return str(found.experiment_id)
        if found is not None:
            # MLflow keeps the absolute place for ever: a home that was moved or copied would go on writing where it was
            self.client.rename_experiment(found.experiment_id, f"{self.name} before the move {found.experiment_id}")
        return str(self.client.create_experiment(self.name, artifact_location=place))

    @contextmanager
    def training_run(
        self, *, as_of: date, kind: str, compute: Compute, settings: Settings, dagster_run_id: str = ""
    ) -> Iterator["TrainingRun"]:
        """One MLflow run around one training; a training that raises leaves a FAILED run.

        A run that an earlier, killed process left as running is marked KILLED: a home has one run at a time.

        Args:
            as_of: the night.
            kind: kind of forecaster, for example ensemble.
            compute: where it is trained.
            settings: the home's settings; those that shape the model become parameters.
            dagster_run_id: the Dagster run.

        Raises:
            TransientError: the store is locked or the disk is full.
        """
        tags = {
            "as_of": as_of.isoformat(),
            "model_kind": kind,
            "device": compute.device,
            "dagster_run_id": dagster_run_id,
        }
        with self.store.errors():
            for left in self.client.search_runs([self.experiment_id], "attributes.status = 'RUNNING'"):
                self.client.set_terminated(left.info.run_id, "KILLED")
            started = self.client.create_run(self.experiment_id, run_name=f"{kind} {as_of}", tags=tags)
        run = TrainingRun(self.store, started.info.run_id, tags)
        try:
            run.log_parameters(
                {part: getattr(settings, part).model_dump(mode="json") for part in _SHAPING}
                | {"compute": {"threads": compute.threads, "mixed_precision": compute.mixed_precision}}
            )
            yield run
            with self.store.errors():
                self.client.set_terminated(run.run_id, "FINISHED")
        except BaseException as error:
            # the kind of error only: its message names files of this machine, and Dagster keeps it anyway
            self._end_badly(run.run_id, type(error).__name__, "FAILED" if isinstance(error, Exception) else "KILLED")
            raise

    def run(self, run_id: str) -> "TrainingRun":
        """A run that was made before, for what comes after the training: backtest scores, plots."""
        with self.store.errors():
            return TrainingRun(self.store, run_id, dict(self.client.get_run(run_id).data.tags))

    def recipe(self, run_id: str) -> dict[str, Any] | None:
        """What `TrainingRun.log_recipe` logged; None for a run of before recipes were kept, or whose artefacts are gone."""
        # by its place in the home, for the address that MLflow keeps is absolute
        file = self.store.artifacts / run_id / "artifacts" / RECIPE
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def score(self, run_id: str, metric: str) -> float | None:
        """A pooled score of the backtest of a run's own model; None where there is none, or the run is gone."""
        from mlflow.exceptions import MlflowException

        with self.store.errors():
            try:
                run = self.run(run_id)
            except MlflowException:
                return None
            return run.score(metric)

    def register(
        self,
        run: TrainingRun,
        fitted: Fitted,
        panel: Panel,
        *,
        promote: bool = False,
        tags: Mapping[str, str] | None = None,
    ) -> ModelVersion:
        """Store a fitted forecaster as a standard MLflow model, and register it as the next version.

        The version has all its tags, promotion among them, from its first moment: a process that is killed after it leaves
        nothing half told. Only the alias comes later, and `settle` mends it.

        Args:
            run: the run that made it, after `log_data`.
            fitted: the forecaster; it saves safetensors and JSON only.
            panel: the panel it was trained on, whose calendar and static features the served model carries.
            promote: make it the champion.
            tags: more that is to be known of the version.

        Raises:
            TransientError: the store is locked or the disk is full.
        """
        own = {key: run.tags[key] for key in ("as_of", "data_snapshot", "model_kind", "device")}
        tags = own | dict(tags or {}) | {_PROMOTED: "true" if promote else "false"}
        with self.store.errors():
            model_id = save_served_version(
                self.client, self.experiment_id, run.run_id, self.name, fitted=fitted, panel=panel, tags=tags
            )
            self._make_registered_model()
            made = self.client.create_model_version(
                self.name,
                source=(self.store.artifacts / "models" / model_id / "artifacts").as_uri(),
                run_id=run.run_id,
                tags=tags,
                model_id=model_id,
            )
            version = self._version(made)
        self.settle(version)
        return version

    def register_encoder(self, run: TrainingRun, encoder: Encoder) -> str:
        """Store an encoder that a training pretrained, as a version of its own; its name."""
        with self.store.errors():
            return register_encoder(self.client, self.name, run, encoder, self.store.artifacts)

    def encoder(self, kind: str, *, not_after: date, not_before: date) -> Encoder | None:
        """The newest encoder of an architecture pretrained between two nights; None without one."""
        with self.store.errors():
            return newest_encoder(
                self.client, self.name, kind, not_after=not_after, not_before=not_before, artifacts=self.store.artifacts
            )

    def settle(self, version: ModelVersion) -> None:
        """What follows from a registered version: its run has ended well and names it, and a promoted one has the alias.

        To be repeated for a version whose process was killed just after it was registered.
        """
        with self.store.errors():
            self.client.set_tag(version.run_id, "model_version", version.model_version)
            self.client.set_terminated(version.run_id, "FINISHED")
        if version.tags.get(_PROMOTED) == "true":
            self.promote(version)

    def unrecorded(self, recorded: Collection[str]) -> list[ModelVersion]:
        """Versions beside those named, oldest first: what a killed process registered and did not live to write down.

        Versions whose folder is gone are left out.
        """
        with self.store.errors():
            found = [one for one in self._versions() if f"{one.name}/{one.version}" not in recorded]
        found.sort(key=lambda one: int(one.version))
        return [self._version(one) for one in found if self._folder(one).is_dir()]

    def version(self, model_version: str) -> ModelVersion:
        """A version by its name, as the tables hold it, for example `almanac-my-shop/3`.

        Raises:
            ModelError: there is no such version, or its folder is gone.
        """
        name, _, number = model_version.rpartition("/")
        with self.store.errors():
            found = {int(one.version): one for one in self._versions()}
            if name == self.name and number.isdecimal() and int(number) in found:
                return self._version(found[int(number)])
        known = ", ".join(f"{self.name}/{one}" for one in sorted(found)[-5:])
        raise ModelError(
            f"no model version {model_version!r} in {self.store.database}; "
            + (f"the newest are {known}" if known else "no version was trained yet: run a night first")
        )

    def champion(self, as_of: date | None = None) -> ModelVersion | None:
        """The model to forecast with, or None when there is none yet.

        Args:
            as_of: the newest champion that this night could have known: promoted on a night not after it, or put back by
                a person for it. Default: the one under the alias `champion`.

        Raises:
            ModelError: its folder is gone.
        """
        with self.store.errors():
            found = self._champion(as_of)
            return self._version(found) if found is not None else None

    def champion_name(self, as_of: date | None = None) -> str | None:
        """Name of the champion (see `champion`), also of one whose folder is gone."""
        with self.store.errors():
            found = self._champion(as_of)
            return f"{found.name}/{found.version}" if found is not None else None

    def before(self, champion: str, as_of: date) -> ModelVersion | None:
        """The champion that served before a night's champion was promoted; None when that was the first of its home.

        Args:
            champion: name of the night's champion.
            as_of: the night.

        Raises:
            ModelError: its folder is gone.
        """
        with self.store.errors():
            versions = self._versions()
            known = [one for one in self._enthroned(versions) if one.as_of <= as_of]
            present = champion_of(one for one in known if f"{self.name}/{one.number}" == champion)
            found = before(known, present) if present is not None else None
            return self._version(_of_number(versions, found.number)) if found is not None else None

    def promote(self, version: ModelVersion) -> bool:
        """Make a version the champion from its night on.

        A backfill of an older night does not take the alias from a newer champion, nor from one that a person put back
        since; nights between find it all the same (see `champion`).

        Returns:
            Whether it has the alias.
        """
        with self.store.errors():
            self.client.set_model_version_tag(self.name, str(version.number), _PROMOTED, "true")
            newest = champion_of(self._enthroned(self._versions()))
            if newest is None or newest.number != version.number:
                return False
            self.client.set_registered_model_alias(self.name, CHAMPION, str(version.number))
            return True

    def roll_back(self, version: ModelVersion, as_of: date) -> date | None:
        """Make a version that was trained before the champion from a night on; nights before it choose as they did.

        Args:
            version: the version, promoted once or not.
            as_of: first night that it serves.

        Returns:
            Night from which on the next champion serves all the same, for it was promoted on a later night; None when there
            is none, and the version has the alias.

        Raises:
            ModelError: the version was trained on what became known after the night.
        """
        refuse_later(version.model_version, version.as_of, as_of)
        with self.store.errors():
            versions = self._versions()
            new = Enthroned(as_of, max(int(one.version) for one in versions), True, version.number)
            later = [one.as_of for one in self._enthroned(versions) if one > new]
            # the alias first: killed in between, the same command does the same again
            if not later:
                self.client.set_registered_model_alias(self.name, CHAMPION, str(version.number))
            self.client.set_registered_model_tag(self.name, *new.tag)
            return min(later, default=None)

    def load(self, version: ModelVersion, compute: Compute | None = None) -> Fitted:
        """The fitted forecaster of a version; default: on the CPU."""
        from pipeline.models import registry

        return registry.load(version.folder, compute)

    def _make_registered_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _champion(self, as_of: date | None) -> Any:
        """MLflow's entry of a night's champion, or of the version under the alias; None when there is none."""
        if as_of is None:
            numbers = getattr(self._registered_model(), "aliases", {})
            return self.client.get_model_version(self.name, numbers[CHAMPION]) if CHAMPION in numbers else None
        versions = self._versions()
        best = champion_of(self._enthroned(versions), as_of)
        return _of_number(versions, best.number) if best is not None else None

    def _registered_model(self) -> Any:
        """MLflow's entry of the shop's model; None before the first version."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_registered_model(self.name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _enthroned(self, versions: Sequence[Any]) -> list[Enthroned]:
        promoted = [one for one in versions if one.tags.get(_PROMOTED) == "true"]
        return promotions(promoted) + roll_backs(self._registered_model(), versions)

    def _versions(self) -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            page = self.client.search_model_versions(f"name = '{self.name}'", page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _folder(self, found: Any) -> Path:
        # MLflow stores absolute addresses (…/models/<id>/artifacts): in a home that was moved only the id still holds
        model_id = PurePosixPath(found.source).parent.name
        return self.store.artifacts / "models" / model_id / "artifacts" / "artifacts" / "forecaster"

    def _version(self, found: Any) -> ModelVersion:
        folder = self._folder(found)
        version = ModelVersion(
            name=found.name,
            number=int(found.version),
            run_id=found.run_id,
            as_of=date.fromisoformat(found.tags["as_of"]),
            data_snapshot=found.tags["data_snapshot"],
            folder=folder,
            made_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).replace(tzinfo=None),
            kind=found.tags.get("kind", "full"),
            parent=found.tags.get("parent", ""),
            tags=dict(found.tags),
        )
        if not folder.is_dir():
            raise ModelError(
                f"{folder}: the folder of model {version.model_version} is gone; restore it from a backup of the "
                "home, or delete the version in the MLflow UI and train again"
            )
        return version

    def _end_badly(self, run_id: str, error: str, status: str) -> None:
        try:
            self.client.set_tag(run_id, "error", error)
            self.client.set_terminated(run_id, status)
        except Exception:  # noqa: S110 (what ended the training must be told, not that the store is locked too)
            pass


def _of_number(versions: Sequence[Any], number: int) -> Any:
    return next(one for one in versions if int(one.version) == number)


class TrackingResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The MLflow store of a home, for assets."""

    folder: str

    def of(self, settings: Settings) -> Tracking:
        """The store of the home, under its shop's name."""
        return Tracking(Path(self.folder), settings.shop.name)
