import os
import subprocess
import sys
from pathlib import Path

import pytest

from tsn_tsm_plugin.requirements import unmet_torch


@pytest.mark.parametrize(
    "requirements, torch, expected",
    [
        (["numpy", "torch==2.9.1"], "2.9.1+cpu", None),
        (["numpy", "torch==2.9.1"], "2.10.0", "torch==2.9.1"),
        (["torch (>=2.14.0)"], "2.13.0+cpu", "torch>=2.14.0"),
        (["torch (>=2.14.0)"], "2.15.0.dev20260101", None),
        (["torch==1.0; extra == 'old'"], "2.0.0", None),
        (["numpy"], "2.0.0", None),
    ],
)
def test_only_an_unmet_requirement_on_torch_is_reported(requirements, torch, expected):
    assert unmet_torch(requirements, torch) == expected


def fake_torchvision(site: Path, *, source: str, requires: str) -> None:
    (site / "torchvision.py").write_text(source)
    metadata = site / "torchvision-9.9.9.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: torchvision\nVersion: 9.9.9\nRequires-Dist: {requires}\n"
    )


def import_error(site: Path, name: str = "tsn_tsm_plugin") -> str:
    """Import a module in a fresh process that finds the fake torchvision first; return its last line."""
    result = subprocess.run(
        [sys.executable, "-c", f"import {name}"],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    return result.stderr.strip().splitlines()[-1]


def test_a_torchvision_for_another_torch_is_named_with_the_command_that_repairs_it(tmp_path):
    fake_torchvision(tmp_path, source="", requires="torch==1.2.3")
    message = import_error(tmp_path)
    assert message.startswith("ImportError: torchvision 9.9.9 needs torch==1.2.3, but torch ")
    assert message.endswith("pip install --upgrade --force-reinstall torch torchvision")


def test_a_torchvision_that_breaks_on_import_is_named_with_the_command_that_repairs_it(tmp_path):
    breaks = "raise RuntimeError('operator torchvision::nms does not exist')"
    fake_torchvision(tmp_path, source=breaks, requires="torch>=1.0")
    message = import_error(tmp_path, "tsn_tsm_plugin.models")
    assert message.startswith("ImportError: torchvision 9.9.9 cannot be imported with torch ")
    assert "operator torchvision::nms does not exist" in message
    assert message.endswith("pip install --upgrade --force-reinstall torch torchvision")
