"""Ways to adapt a frozen model: a file a method."""
