"""A run: building it from its settings, training, and using its results."""
