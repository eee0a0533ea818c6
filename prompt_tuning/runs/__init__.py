"""A run from its settings: what they build, tuning, what it ends with."""
