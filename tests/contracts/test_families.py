"""TSM on families of torchvision agrees with ``families.md``; ``check_families.py`` checks timm's."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch

from tsn_tsm_plugin.models import create_tsm

FOLDER = Path(__file__).resolve().parents[2] / "projects" / "tsm"
ROWS = json.loads((FOLDER / "families.json").read_text())
TORCHVISION = {family: row for family, row in ROWS.items() if family.startswith("torchvision/")}


# Tokens, windows, channels-last and plain maps; ``check_families.py`` takes minutes for all.
CHECKED_HERE = [f"torchvision/{name}" for name in ("vit", "swin", "swin_v2", "shufflenet_v2")]


@pytest.fixture(scope="module")
def checks():
    """The module ``check_families``."""
    spec = importlib.util.spec_from_file_location("check_families", FOLDER / "check_families.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_records_and_every_family_of_torchvision(checks):
    assert (FOLDER / "families.md").read_text() == checks.page(ROWS)
    assert set(TORCHVISION) == {name for name in checks.families() if name.startswith("torchvision/")}


@pytest.mark.parametrize("family", TORCHVISION)
def test_a_family_of_torchvision_is_shifted_at_the_sites_of_the_page_or_refused(family):
    row = TORCHVISION[family]
    # RegNet cannot be built on the meta device.
    with torch.device("cpu" if "regnet" in family else "meta"):
        if "num_sites" not in row:
            with pytest.raises(ValueError, match=re.escape(row["reason"][:60])):
                create_tsm(backbone=row["network"])
            return
        model = create_tsm(backbone=row["network"])
    sites = {re.sub(r"\d+", "*", site.removeprefix("trunk.")) for site in model.shift_sites}

    assert (sorted(sites), len(model.shift_sites)) == (row["sites"], row["num_sites"])


@pytest.mark.slow
@pytest.mark.parametrize("family", CHECKED_HERE)
def test_a_family_of_torchvision_sees_order_streams_trains_and_exports(checks, family):
    assert checks.check(TORCHVISION[family]["network"]) == TORCHVISION[family]
    assert all(TORCHVISION[family][check] for check in checks.CHECKS)
