"""Command lines: ``python -m tsn_tsm_plugin.tools.<name>``."""
