"""The paper's tables and figures: grids of runs as data, run, read, set in tables."""
