"""Contents of an installation, and the imports of its commands before they work."""

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tsn_tsm_plugin.config.recipes import RECIPES, find_recipe, recipe_names

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(
    path.stem
    for path in (ROOT / "tsn_tsm_plugin" / "tools").glob("*.py")
    if "def main(" in path.read_text(encoding="utf-8")
)
HEAVY = ("av", "matplotlib", "numpy", "PIL", "pytorchvideo", "timm", "torch", "torchvision")


@pytest.fixture(scope="module")
def setup_cfg():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def loaded_modules(code: str, *words: str) -> set[str]:
    """Run code in a fresh process; return which heavy modules it has imported at its end."""
    tail = f"\nimport sys; print('LOADED', *[name for name in {HEAVY} if name in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", code + tail, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "LOADED" in ran.stdout, ran.stderr
    return set(ran.stdout.rpartition("LOADED")[2].split())


def main_of(tool: str) -> str:
    """Return code that runs a tool with the words of the command line, and survives its exit."""
    return (
        f"import sys; from tsn_tsm_plugin.tools.{tool} import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass"
    )


def test_every_package_is_installed(setup_cfg):
    listed = set(setup_cfg["options"]["packages"].split())
    library = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "tsn_tsm_plugin").rglob("__init__.py")
    }
    launcher = {
        ".".join(("tsn_tsm_plugin.launcher", *path.parent.relative_to(ROOT / "launch").parts))
        for path in (ROOT / "launch").rglob("__init__.py")
    }
    assert listed == library | launcher | {"tsn_tsm_plugin.recipes"}


def test_every_tool_is_a_console_script(setup_cfg):
    lines = setup_cfg["options.entry_points"]["console_scripts"].split("\n")
    scripts = dict(line.split(" = ") for line in lines if line)
    expected = {f"tsn-tsm-{name.replace('_', '-')}": f"tsn_tsm_plugin.tools.{name}:main" for name in TOOLS}
    assert scripts == {**expected, "tsn-tsm-submit": "tsn_tsm_plugin.launcher.submit:main"}


def test_a_recipe_is_found_by_its_name():
    assert find_recipe("tsm/k400_r50_8f") == str(RECIPES / "tsm" / "k400_r50_8f.yaml")
    assert "tsn/k400_r50_3f" in recipe_names()


def test_a_file_of_the_user_goes_before_a_recipe_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tsm").mkdir()
    (tmp_path / "tsm" / "k400_r50_8f").write_text("MODEL: {ARCH: tsm}")
    assert find_recipe("tsm/k400_r50_8f") == "tsm/k400_r50_8f"


def test_importing_the_package_imports_nothing_heavy():
    assert loaded_modules("import tsn_tsm_plugin") == set()


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["--no-such-flag"]], ids=" ".join)
def test_help_version_and_mistakes_of_every_tool_import_nothing_heavy(words):
    code = "\n".join(main_of(tool) for tool in TOOLS)
    assert loaded_modules(code, *words) == set()


@pytest.mark.parametrize(
    "words", [["tsm/k400_r50_8fs"], ["tsm/k400_r50_8f", "--set", "SOLVER.BASE_LRR", "1"]], ids=" ".join
)
@pytest.mark.parametrize(
    ("tool", "flag"),
    [("train", "--cfg"), ("evaluate", "--cfg"), ("show_batch", "--cfg"), ("benchmark", "--loader")],
)
def test_a_mistyped_recipe_or_key_imports_nothing_heavy(tool, flag, words):
    assert loaded_modules(main_of(tool), flag, *words) == set()


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("predict", ["--weights", "nothing.pth", "a.mp4"]),
        ("evaluate", ["--cfg", "tsm/k400_r50_8f", "--weights", "nothing.pth"]),
        ("convert_checkpoint", ["nothing.pth", "a.pth"]),
        ("ensemble", ["nothing.pkl"]),
    ],
)
def test_a_mistyped_path_imports_nothing_heavy(tool, words):
    assert loaded_modules(main_of(tool), *words) == set()


@pytest.mark.parametrize(
    "words", [["--help"], ["list"], ["status", "nothing"], ["--cfg", "nothing"]], ids=" ".join
)
def test_the_launcher_answers_without_heavy_imports(words):
    code = (
        "import sys; from launch.commands.parsers import run\ntry: run(sys.argv[1:])\nexcept SystemExit: pass"
    )
    assert loaded_modules(code, *words) == set()


def test_a_mistyped_flag_is_answered_with_the_nearest_one(capsys):
    from tsn_tsm_plugin.tools.predict import main

    with pytest.raises(SystemExit):
        main(["a.mp4", "--weights", "w.pt", "--labls", "x"])
    assert "did you mean --labels?" in capsys.readouterr().err
