"""The example third party, installed by pip into a site directory and used from fresh processes."""

import json
import os
import shutil
import subprocess
import sys

import pytest


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
    command = ("-m", "tsn_tsm_plugin.tools.list_components", "--kind", "backbone", "--json")

    rows = json.loads(run(*command, folder=tmp_path, site=site))
    assert [row for row in rows if row["distribution"] == "pocketnet"] == [
        {
            "kind": "backbone",
            "name": "pocketnet",
            "target": "pocketnet:pocketnet",
            "distribution": "pocketnet",
            "version": "0.1.0",
        }
    ]


def test_the_examples_own_tests_pass_where_it_is_installed(installed, tmp_path):
    """Among them: TSM is built on the backbone by its entry-point name and trained for a step."""
    folder, site = installed
    shutil.copy(folder / "test_pocketnet.py", tmp_path)

    printed = run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_pocketnet.py", folder=tmp_path, site=site
    )
    assert "8 passed" in printed
