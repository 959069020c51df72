"""Training: from the as-of view to a panel, and from a panel to the night's model."""

from pipeline.training.panel import build_panel
from pipeline.training.train import build_training_panel, make_forecaster, train

__all__ = ["build_panel", "build_training_panel", "make_forecaster", "train"]
