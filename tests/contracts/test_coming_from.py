"""The page for people who come from elsewhere names only keys and commands that exist."""

import configparser
import re
from pathlib import Path

from tsn_tsm_plugin.config.defaults import KEYS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "projects" / "coming_from.md").read_text()


def our_column() -> str:
    rows = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| ")]
    return "\n".join(row[-1] for row in rows if len(row) == 5)


def test_every_key_of_ours_is_in_the_schema():
    named = set(re.findall(r"`([A-Z]+\.[A-Z0-9_]+)[ `]", our_column()))
    assert len(named) > 20
    assert named <= set(KEYS)


def test_every_command_of_ours_exists():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    entries = setup["options.entry_points"]["console_scripts"].split("\n")
    scripts = {entry.split("=")[0].strip() for entry in entries}
    named = set(re.findall(r"tsn-tsm-[a-z-]+", PAGE))
    assert len(named) >= 8
    assert named <= scripts
