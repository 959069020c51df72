"""Training: from the as-of view to a panel, and from a panel to the night's model."""
