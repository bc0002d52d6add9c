"""terminal_text, csv_cell, markdown_text, html_text, plot_text, json_text, ...: escape untrusted text.

Class names and paths are untrusted, and every output has its own syntax: a terminal obeys escape sequences, a
spreadsheet runs ``=cmd``, matplotlib typesets ``$...$``. Each function escapes a text for one output.
"""

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

# Control characters, line breaks of any script, marks that change the text direction, lone surrogates.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
# Spreadsheets run a cell that begins with one of these characters.
_FORMULA_STARTS = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")
# An underscore inside a word, frequent in names, is plain text in Markdown.
_MARKDOWN = re.compile(r"[\\`*\[\]{}|~#!$]|(?<![^\W_])_|_(?![^\W_])")


def terminal_text(text: object, *, max_chars: int = 0) -> str:
    """Return a name on one line, with control characters written as escapes such as ``\\x1b``.

    Args:
        text: The name; a path may contain bytes that are not UTF-8.
        max_chars: Longer names end in an ellipsis; 0: no limit.
    """
    shown = str(text)
    if max_chars and len(shown) > max_chars:
        shown = shown[: max_chars - 1] + "…"
    return _UNPRINTABLE.sub(_escape, shown)


def printed_lines(text: object) -> str:
    """Return a message of several lines for a terminal or log.

    Lines after the first are indented, so that no name in the message can forge a record.
    """
    return "\n  ".join(terminal_text(line) for line in str(text).split("\n"))


def aligned_table(rows: Iterable[Sequence[str]]) -> str:
    """Return rows with equal numbers of cells as a table with aligned columns, for a terminal."""
    table = [[terminal_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in table)
    return "\n".join(line.rstrip() for line in lines)


def csv_cell(text: object) -> str:
    """Return a name for a cell of CSV; a leading ``'`` keeps spreadsheets from running it as a formula."""
    shown = terminal_text(text)
    is_formula = str(text).startswith(_FORMULA_STARTS) and len(shown) > 1 and not _NUMBER.fullmatch(shown)
    return f"'{shown}" if is_formula else shown


def markdown_text(text: object) -> str:
    """Return a name for Markdown, without emphasis, links, table cells, formulas and HTML tags."""
    return _MARKDOWN.sub(
        lambda match: f"\\{match.group()}", terminal_text(text).replace("&", "&amp;").replace("<", "&lt;")
    )


def markdown_fence(text: str, language: str = "") -> list[str]:
    """Return the lines of a code block, whose fence is longer than any fence in the text."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return [ticks + language, *text.rstrip().split("\n"), ticks]


def html_text(text: object) -> str:
    """Return a name for HTML, in the text and in attributes."""
    return html.escape(terminal_text(text))


def plot_text(text: object, *, max_chars: int = 60) -> str:
    """Return a name for matplotlib, which would typeset text between two ``$``."""
    return terminal_text(text, max_chars=max_chars).replace("$", r"\$")


def json_text(content: Any, *, indent: int | None = None) -> str:
    """Return JSON for standard output: readable in any script, valid UTF-8, without control characters."""
    shown = json.dumps(content, indent=indent, ensure_ascii=False)
    return re.sub(rf"(?!\n){_UNPRINTABLE.pattern}", lambda match: json.dumps(match.group())[1:-1], shown)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # A byte of a path that is not UTF-8.
        return f"\\x{code - 0xDC00:02x}"
    return match.group().encode("unicode_escape").decode()
