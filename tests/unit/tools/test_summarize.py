import pytest

from tsn_tsm_plugin.tools.summarize import main

HEADER = "# published: top-1 45.58 / 47.70, top-5 75.02 / 76.12 (efficient / accurate protocol)\n"


def squeezed(line: str) -> str:
    return " ".join(line.split())


@pytest.fixture
def projects(tmp_path):
    for name, text in {
        "tsn/small_3f.yaml": "# published: top-1 72.83, top-5 90.65 (ten crops)\n_BASE_: ../base/tsn.yaml",
        "tsm/small_8f.yaml": HEADER + "MODEL: {BACKBONE: resnet18, NUM_CLASSES: 174}",
        "base/tsn.yaml": """
            MODEL: {ARCH: tsn, BACKBONE: resnet18}
            TEST: {NUM_FRAMES: 25}
            DATA: {NUM_FRAMES: 3}
        """,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_folder_becomes_one_line_per_recipe_and_bases_none(projects, capsys):
    assert main([str(projects)]) == 0
    header, tsm, tsn = capsys.readouterr().out.strip().splitlines()
    assert header.split()[0] == "recipe"
    views = "uniform 1 x 1 x 224 px"
    assert squeezed(tsm) == f"tsm/small_8f resnet18 8 {views} 11,265,774 14.55 45.58 / 47.70 75.02 / 76.12"
    assert squeezed(tsn) == f"tsn/small_3f resnet18 3, test 25 {views} 11,381,712 45.46 72.83 90.65"


def test_the_markdown_table_is_written_between_its_marks_only(projects):
    page = projects / "README.md"
    page.write_text("above\n<!-- zoo table: begin -->\nold\n<!-- zoo table: end -->\nbelow\n")
    assert main([str(projects), "--markdown", str(page)]) == 0
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("above", "below")
    assert "old" not in lines
    assert lines[2].startswith("| recipe | backbone |")
    assert lines[4].startswith("| tsm/small_8f | resnet18 |")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["gone.yaml"], "error: gone.yaml: no such file or folder."),
        (["{tmp}"], "error: no recipe found in "),
        (["{tmp}/projects/base", "--markdown", "x"], "error: no recipe found in "),
    ],
)
def test_user_errors_are_one_line_and_exit_status_2(tmp_path, capsys, arguments, message):
    (tmp_path / "projects" / "base").mkdir(parents=True)
    assert main([a.format(tmp=tmp_path) for a in arguments]) == 2
    assert capsys.readouterr().err.startswith(message)


def test_a_page_without_marks_is_refused(projects, capsys):
    page = projects / "README.md"
    page.write_text("no marks\n")
    assert main([str(projects), "--markdown", str(page)]) == 2
    assert "needs the lines" in capsys.readouterr().err
    assert page.read_text() == "no marks\n"
