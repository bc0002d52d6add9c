"""The extras of setup.cfg: each adds something, and every page and error names one that exists."""

import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
EXTRAS = SETUP["options.extras_require"]
SOURCES = [ROOT / ".ci" / "run", *ROOT.glob("*.md"), *ROOT.glob("*.py")]
for room in ("launch", "projects", "tests", "tsn_tsm_plugin"):
    SOURCES += [path for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".md")]


def names_in(requirements: str) -> set[str]:
    return {Requirement(line).name for line in requirements.strip().splitlines()}


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_adds_only_what_is_not_installed_anyway(extra):
    assert names_in(EXTRAS[extra]).isdisjoint(names_in(SETUP["options"]["install_requires"]))


def test_pages_and_errors_name_extras_that_exist():
    named = {
        extra
        for path in SOURCES
        for extras in re.findall(r"pip install [^`\n]*\[([a-z,]+)\]", path.read_text(encoding="utf-8"))
        for extra in extras.split(",")
    }
    assert named == set(EXTRAS)
