"""Checkpoint files of every origin: reading, recognising their format and translating their keys."""
