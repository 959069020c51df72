"""The language model as a Dagster resource: which one a run reads texts with.

Finding, loading and encoding belong to `pipeline.enrichment`; here is only what the launchpad may override.
"""

from typing import Optional

from dagster import ConfigurableResource
from pydantic import Field

from pipeline.enrichment.texts import TextReport, encode_items
from pipeline.lake import Lake
from pipeline.models.base import Compute, Progress, silent
from pipeline.settings import Settings


class LanguageModelResource(ConfigurableResource):  # type: ignore[type-arg]
    """Encodes item texts with the home's language model, or with the one named for a run."""

    model: Optional[str] = Field(  # noqa: UP045 (Dagster reads the annotation)
        default=None, description="Overrides language_model.model of the home's settings for one run."
    )

    def resolve(self, settings: Settings) -> Settings:
        """The home's settings with the model of this run."""
        if not self.model:
            return settings
        chosen = settings.language_model.model_copy(update={"model": self.model})
        return settings.model_copy(update={"language_model": chosen})

    def encode_items(
        self, lake: Lake, settings: Settings, *, compute: Compute, progress: Progress = silent
    ) -> TextReport:
        """Encode the item texts of a home that have no vector yet (see `pipeline.enrichment.texts`)."""
        return encode_items(lake, self.resolve(settings), compute=compute, progress=progress)
