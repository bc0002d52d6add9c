"""Names that every place would read as its own language come out as plain text."""

import csv
import html
import io
import json
import logging

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tsn_tsm_plugin.log import get_logger, setup_logging
from tsn_tsm_plugin.runs.plots import plot_confusion_matrix
from tsn_tsm_plugin.runs.results import format_results
from tsn_tsm_plugin.safe_text import (
    aligned_table,
    csv_cell,
    html_text,
    json_text,
    markdown_fence,
    markdown_text,
    plot_text,
    printed_lines,
    terminal_text,
)
from tsn_tsm_plugin.visualization.drawing import fit, font

HOSTILE = [
    "$100% off$",
    r"\$x$ and \frac{$",
    "$_^{}$$",
    "\x1b[2J\x1b[H",
    "a\n12:00:00 E engine.train: forged",
    "a\r\x08b\x7f\x9b2J\u2028\u202e",
    '=cmd|"/c calc"!A1',
    "@SUM(1)",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a|b`c`*d*_e_[f](http://g)![h](i)",
    "# head",
    "\udcff not UTF-8",
    "x" * 10_000,
    "",
]
PLAIN = ["Pull_Up", "Grüße, 跳水 и ещё", "don't (much)", "a - b"]


def names(values):
    return pytest.mark.parametrize("name", values, ids=lambda name: ascii(name[:20]))


@names(PLAIN)
def test_a_plain_name_stays_as_it_is(name):
    for write in (terminal_text, printed_lines, csv_cell, plot_text):
        assert write(name) == name
    assert html.unescape(html_text(name)) == name
    assert json.loads(json_text([name])) == [name] and name in json_text([name])


def test_a_plain_name_stays_as_it_is_in_markdown():
    assert markdown_text("Pull_Up 跳水 (8 -> 16)") == "Pull_Up 跳水 (8 -> 16)"


@names(HOSTILE)
def test_a_name_is_one_printable_line_that_utf8_can_write(name):
    for write in (terminal_text, csv_cell, html_text, markdown_text, plot_text):
        shown = write(name)
        assert shown.isprintable() and len(shown.splitlines()) <= 1
        shown.encode()


def test_what_a_terminal_obeys_is_shown_as_an_escape():
    assert terminal_text("a\x1b[2J\n\udcff") == r"a\x1b[2J\n\xff"


def test_a_long_name_ends_in_an_ellipsis():
    assert terminal_text("x" * 100, max_chars=10) == "x" * 9 + "…"


def test_a_table_has_aligned_columns_and_nothing_that_a_terminal_obeys():
    assert aligned_table([("run", "state"), ("a\x1b[2J", "ok")]) == "run       state\na\\x1b[2J  ok"


@names(["=1+1", "+cmd", "-cmd", "@SUM", "\t=1"])
def test_no_cell_of_csv_begins_a_formula(name):
    written = io.StringIO()
    csv.writer(written).writerow([csv_cell(name)])
    assert written.getvalue().lstrip('"')[0] == "'"


@pytest.mark.parametrize("number", ["-1", "+1.5", "-2e-05"])
def test_a_number_of_csv_stays_a_number(number):
    assert csv_cell(number) == number


def test_markdown_has_no_tags_cells_or_links():
    assert markdown_text("<b>|[x](y)_z_") == r"&lt;b>\|\[x\](y)\_z\_"


def test_a_code_block_is_not_ended_by_its_text():
    text = "a: |\n  ```\n  # head\n"
    assert markdown_fence(text, "yaml") == [
        "````yaml",
        "a: |",
        "  ```",
        "  # head",
        "````",
    ]


@names(HOSTILE)
def test_json_on_a_terminal_is_valid_and_printable(name):
    text = json_text({"class": name}, indent=2)
    text.encode()
    assert json.loads(text) == {"class": name}
    assert text.replace("\n", "").isprintable()


@names(HOSTILE)
def test_a_plot_draws_any_name_to_the_letter(name):
    figure = Figure()
    FigureCanvasAgg(figure)
    shown = figure.text(0.5, 0.5, plot_text(name))
    figure.canvas.draw()
    parsed, is_math = shown._preprocess_math(shown.get_text())
    assert is_math is False
    assert parsed == terminal_text(name, max_chars=60)


def test_a_confusion_matrix_of_hostile_names_is_drawn(tmp_path):
    plot_confusion_matrix(torch.eye(len(HOSTILE), dtype=torch.long), HOSTILE, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


@names(HOSTILE)
def test_a_caption_of_a_picture_fits(name):
    assert font(12).getlength(fit(name, 100, font(12))) <= 100


def test_a_message_forges_no_record_of_the_log(tmp_path, capsys):
    setup_logging(tmp_path / "log.txt")
    try:
        get_logger("tsn_tsm_plugin.a").warning("class a\n12:00:00 E engine.train: forged \x1b[2J \udcff")
    finally:
        root = logging.getLogger("tsn_tsm_plugin")
        for handler in list(root.handlers):
            root.removeHandler(handler)
            handler.close()
        root.propagate = True
        root.setLevel(logging.NOTSET)
    written = (tmp_path / "log.txt").read_text()
    assert written == capsys.readouterr().err
    assert [line for line in written.splitlines() if not line.startswith("  ")] == written.splitlines()[:1]
    assert "\x1b" not in written and r"forged \x1b[2J \xff" in written


def test_the_table_of_results_has_one_line_for_a_hostile_class():
    numbers = {"accuracy": 50.0, "num_videos": 1}
    classes = [{"name": name, **numbers} for name in ("a\n  top-1  100 %", "\x1b[2J")]
    text = format_results(
        {"classes": classes, "num_videos": 2, "num_bad_videos": 0, "views_per_video": 1}
        | {"view_average": "logits", "clips_per_second": 1.0, "seconds": 1.0}
    )
    assert r"a\n  top-1  100 %" in text and r"\x1b[2J" in text and "\x1b" not in text
