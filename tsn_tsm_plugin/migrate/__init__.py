"""Converters from other projects' configs to recipes."""
