"""The MLflow store of one home: where it is, how it is opened, and what its errors mean for a person."""

import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import AlmanacError, DiskFullError, TransientError

_UNFINISHED = "unfinished-"
_LEFT_BEHIND_SECONDS = 3600
"""By then, whoever made an unfinished database was killed."""


@dataclass(frozen=True)
class MlflowStore:
    """Database and artefacts in the home's `mlflow` folder; made when first used.

    Attributes:
        home: folder of the home.
    """

    home: Path

    @property
    def database(self) -> Path:
        """The sqlite file."""
        return self.home / "mlflow" / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """Folder of all artefacts."""
        return self.home / "mlflow" / "artifacts"

    @property
    def uri(self) -> str:
        """Address of the store, for `mlflow ui --backend-store-uri` and `mlflow.set_tracking_uri`."""
        return f"sqlite:///{self.database}"

    @cached_property
    def client(self) -> Any:
        """MLflow's client of this store.

        With explicit addresses: MLflow's fluent functions keep the store and the active run in process-wide state,
        and tag every run with the user's name and the script's path.
        """
        # read at import, or at each call: nobody else needs to hear of a shop's night
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ["MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING"] = "false"
        os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
        from mlflow import MlflowClient

        # "Creating initial MLflow database tables": nobody watching a night needs to read it
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self.artifacts.mkdir(parents=True, exist_ok=True)
        if not self.database.exists():
            self._create()
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def _create(self) -> None:
        """Make the database whole or not at all.

        MLflow makes its tables by some forty migrations; one that is killed on the way leaves a table behind at which every
        later one fails ("table _alembic_tmp_experiments already exists").
        """
        from mlflow import MlflowClient

        aside = self.database.with_name(f"{_UNFINISHED}{uuid.uuid4().hex}.db")
        whole = aside.with_suffix(".whole.db")
        try:
            uri = f"sqlite:///{aside}"
            MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments()
            with closing(sqlite3.connect(aside)) as made:
                made.execute("VACUUM INTO ?", (str(whole),))
            whole.replace(self.database)
        finally:
            for left in self.database.parent.glob(f"{_UNFINISHED}*"):
                if left.name.startswith(aside.stem) or time.time() - left.stat().st_mtime > _LEFT_BEHIND_SECONDS:
                    left.unlink(missing_ok=True)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn a locked store or a full disk into an error that says what to do.

        Raises:
            TransientError: the database is locked.
            DiskFullError: the disk is full.
        """
        try:
            yield
        except AlmanacError:
            raise
        except Exception as error:
            text = str(error)
            if "database is locked" in text:
                raise TransientError(
                    f"{self.database}: locked by another process; close what has it open (an MLflow UI, a database "
                    "browser) and run again"
                ) from error
            if "No space left" in text or "disk is full" in text:
                raise DiskFullError(
                    f"{self.database.parent}: the disk is full; free some space and run again"
                ) from error
            raise
