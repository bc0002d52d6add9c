"""Runs: run folders, and their tables, plots and reports."""
