"""The versions that setup.cfg promises: bounded, equal on every page, and read alike from every PyAV."""

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
LINES = [SETUP["options"]["install_requires"], *SETUP["options.extras_require"].values()]
REQUIREMENTS = [Requirement(line) for line in "\n".join(LINES).splitlines() if line]
FRACTION_ONLY = {"as_integer_ratio", "limit_denominator"}


def test_every_requirement_has_a_lower_bound_that_ci_pins():
    script = [sys.executable, str(ROOT / ".ci" / "oldest_versions.py")]
    pins = subprocess.run(script, capture_output=True, text=True, check=True).stdout.split()
    assert len(pins) == len(REQUIREMENTS) > 20
    for requirement, pin in zip(REQUIREMENTS, map(Requirement, pins), strict=True):
        version = next(iter(pin.specifier)).version
        assert pin.name == requirement.name
        assert requirement.specifier.contains(version)
        assert f">={version}" in str(requirement.specifier)


def test_a_new_major_version_of_pyav_is_not_taken_untested():
    (av,) = (requirement for requirement in REQUIREMENTS if requirement.name == "av")
    assert not av.specifier.contains("20.0")


def test_the_promised_pythons_are_those_that_ci_tries():
    tried = re.search(r"for version in ([\d. ]+); do", (ROOT / ".ci" / "run").read_text())[1].split()
    promised = SpecifierSet(SETUP["options"]["python_requires"])
    classifiers = re.findall(r"Python :: (3\.\d+)", SETUP["metadata"]["classifiers"])
    assert set(classifiers) <= set(tried)
    assert [version for version in ("3.9", "3.10", *tried) if promised.contains(version)] == tried
    assert f'target-version = "py{tried[0].replace(".", "")}"' in (ROOT / "pyproject.toml").read_text()


def test_no_rational_of_pyav_is_taken_for_a_fraction():
    """PyAV 18 gives fractions and PyAV 19 rationals of its own, which lack these methods."""
    calls = [
        (path, node.func)
        for path in (ROOT / "tsn_tsm_plugin").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    assert [
        f"{path.relative_to(ROOT)}:{function.lineno}"
        for path, function in calls
        if function.attr in FRACTION_ONLY and not ast.unparse(function.value).startswith("Fraction(")
    ] == []
