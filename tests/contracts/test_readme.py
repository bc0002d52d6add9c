"""The commands and code of the README work, and CI runs the same commands."""

import re
from pathlib import Path

import pytest
from support.videos import numbered_frames, write_video

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)([^)#]+)\)")


def test_the_readme_has_examples():
    assert len(PYTHON) >= 2


@pytest.mark.parametrize("source", PYTHON, ids=lambda source: source.splitlines()[0])
def test_every_python_example_runs(source, tmp_path, monkeypatch):
    write_video(tmp_path / "video.mp4", numbered_frames(20, height=256, width=320))
    monkeypatch.chdir(tmp_path)
    exec(compile(source, "README.md", "exec"), {})


def test_ci_runs_the_readmes_test_command_to_the_letter():
    command = re.search(r"^pip install -e \"\.\[test\]\" && python -m pytest$", README, re.MULTILINE)
    assert command is not None
    install, pytest_call = command.group().split(" && ")
    ci = (ROOT / ".ci" / "run").read_text()
    assert install.replace("pip install", "pip install -q") + f" && {pytest_call}" in ci


def test_recipes_named_in_pages_exist():
    for page in [ROOT / "README.md", *ROOT.glob("*/README.md")]:
        for path in re.findall(r"projects/[\w/]+\.yaml", page.read_text()):
            assert (ROOT / path).is_file(), f"{page}: {path}"


@pytest.mark.parametrize("page", sorted(ROOT.rglob("*.md")), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target
