"""Command-line tools: ``python -m tsn_tsm_plugin.tools.<name>``."""
