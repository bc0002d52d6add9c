"""The example third party, installed by pip into a site directory and used from fresh processes."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tsn_tsm_plugin.data.motion.dataset import prepare_motion


def run(*arguments, folder, site):
    """Run Python with ``site`` on its path and return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(repository, tmp_path_factory):
    """A copy of the example's folder, and the site directory that it was installed into."""
    folder = tmp_path_factory.mktemp("example") / "example_plugin"
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(repository / "projects/example_plugin", folder)
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run("-m", "pip", "install", "--quiet", *offline, "--target", str(site), ".", folder=folder, site=site)
    return folder, site


def test_the_example_is_listed_with_its_distribution(installed, tmp_path):
    _, site = installed

    rows = json.loads(run("-m", "tsn_tsm_plugin.tools.list_components", "--json", folder=tmp_path, site=site))
    of_example = [row for row in rows if row["distribution"] == "pocketnet"]
    assert {(row["kind"], row["name"], row["target"]) for row in of_example} == {
        ("backbone", "pocketnet", "pocketnet:pocketnet"),
        ("head", "pocket_attention", "pocketnet:attention_head"),
        ("sampler", "pocket_steady", "pocketnet:SteadySampler"),
        ("temporal_module", "gate_shift", "gate_shift:GateShift"),
    }
    assert {row["version"] for row in of_example} == {"0.1.0"}


def test_the_examples_own_tests_pass_if_it_is_installed(installed, tmp_path):
    """Among them: TSM is built with all four by the names of a recipe and trained for a step."""
    folder, site = installed
    for test in folder.glob("test_*.py"):
        shutil.copy(test, tmp_path)

    printed = run("-m", "pytest", "-q", "-p", "no:cacheprovider", ".", folder=tmp_path, site=site)
    assert "21 passed" in printed


@pytest.mark.slow
def test_the_examples_recipe_trains_and_its_checkpoint_predicts_without_the_recipe(
    installed, repository, tmp_path
):
    _, site = installed
    prepare_motion(tmp_path / "motion", num_train=16, num_val=8, num_workers=0)
    recipe = repository / "projects/example_plugin/motion_pocketnet_gate_shift_8f.yaml"
    small = ["DATA.PATH_TO_DATA_DIR", "motion", "OUTPUT_DIR", "run", "DATA_LOADER.NUM_WORKERS", "0"]
    small += ["SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0.0"]
    run("-m", "tsn_tsm_plugin.tools.train", "--cfg", str(recipe), *small, folder=tmp_path, site=site)

    predict = ["-m", "tsn_tsm_plugin.tools.predict", "--weights", "run", "motion", "--format", "json"]
    said = json.loads(run(*predict, folder=tmp_path, site=site))
    assert len(said) == 24
    assert all(len(video["top"]) == 5 for video in said)
    log = (tmp_path / "run/log.txt").read_text()
    assert "head=AttentionHead, no temporal shift, gate_shift at 3 sites" in log


def test_the_example_has_at_most_60_lines_of_code(repository):
    source = (repository / "projects/example_plugin/pocketnet.py").read_text()
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, documented) and ast.get_docstring(node)
        for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    lines = [line for number, line in enumerate(source.splitlines(), 1) if number not in docstrings]
    assert len([line for line in lines if re.match(r"\s*[^\s#]", line)]) <= 60
