"""The subcommands of submit.py."""
