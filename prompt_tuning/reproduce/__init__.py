"""Every table and figure of the paper: the grids behind them, and the report."""
