"""Run folders: what a run writes, and tables, plots and reports of it."""
