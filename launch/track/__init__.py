"""Submitted jobs: records, states, waiting and logs."""
