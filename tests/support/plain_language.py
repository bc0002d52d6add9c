"""Finds old words, openings and long sentences in pages, docstrings, comments, messages and test names."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

OPENING = re.compile(r"^(Where|What|Whatever|Whose|Whoever|Whichever|Of|Not|Nor|Theirs|Asked|Neither)\b")
OLD_WORDS = re.compile(
    r"\b("
    r"for ever|likeliest|likewise|in vain|else would|whoever|whichever|somebody else's"
    r"|cure[sd]?|mend(s|ed|ing)?|pass(es|ed)? over|wants? no"
    r"|(leav(e|es|ing)|left) (\w+ )?out"
    r"|(says?|said|saying|tells?|telling|told)"
    r"|that of|those of|theirs|(its|their|one's) own kind"
    r")\b",
    re.IGNORECASE,
)
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_CODE = re.compile(r"``[^`]+``|`[^`]+`")
_SENTENCE_END = re.compile(r"(?<=[.!?])(?:\*\*)?\s+(?=[^a-z])")
# Points that end no sentence, and so must not split one.
_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|etc|vs|al)\.")
# Values as they stand in code: a word of an API is not a word of the text.
_CODE_NAME = "CODE"


def sentences_of_page(text: str) -> list[str]:
    """Return the sentences of a Markdown page: paragraphs, list items, headings and cells of tables."""
    text = _COMMENT.sub("", _FENCE.sub("\n", text))
    blocks: list[str] = [""]
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("|"):
            blocks += [cell.strip() for cell in stripped.strip("|").split("|")] + [""]
        elif not stripped or stripped.startswith("#"):
            blocks += [stripped.lstrip("# "), ""]
        elif re.match(r"([-*]|\d+\.) ", stripped):
            blocks.append(re.sub(r"^([-*]|\d+\.) ", "", stripped))
        else:
            blocks[-1] += " " + stripped
    return [sentence for block in blocks for sentence in split_sentences(block)]


def sentences_of_recipe(text: str) -> list[str]:
    """Return the sentences of a recipe's comments. Lines such as ``# run: ...`` hold data, no sentence."""
    comments = re.findall(r"^\s*# (.*)$", text, re.MULTILINE)
    prose = [line for line in comments if not re.match(r"(\w+|[01]\.x.*): |  ", line)]
    return split_sentences(" ".join(prose))


def sentences_of_module(source: str) -> list[str]:
    """Return the sentences of a module's docstrings, comments and messages, and the names of its tests.

    A message is a string of at least four words that is no docstring. Values of an f-string become a name.
    """
    blocks = list(_comments(source))
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            blocks.append(node.name.replace("_", " "))
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant | ast.JoinedStr) and not isinstance(node, ast.JoinedStr):
                text = _text_of(child)
                if len(text.split()) >= 4:
                    blocks += re.split(r"\n\s*\n|\n\s*(?=[-*>] |\w+: )", text)
    return [sentence for block in blocks for sentence in split_sentences(block)]


def split_sentences(block: str) -> list[str]:
    """Return the sentences of a paragraph without links and code."""
    block = _CODE.sub(_CODE_NAME, _LINK.sub(r"\1", block)).replace("**", "").replace("*", "")
    block = _ABBREVIATION.sub(r"\1", " ".join(block.split()))
    return [sentence for sentence in _SENTENCE_END.split(block) if sentence]


def hits_of(sentences: list[str], *, allowed: frozenset[str], most_words: int | None = None) -> list[str]:
    """Return one line for each fault: an opening, an old word, or too many words."""
    hits = []
    for sentence in sentences:
        opening, old = OPENING.search(sentence), OLD_WORDS.search(sentence)
        num_words = len(sentence.split())
        if any(phrase in sentence for phrase in allowed):
            continue
        if opening:
            hits.append(f"begins with {opening.group()!r}: {sentence}")
        if old:
            hits.append(f"has {old.group()!r}: {sentence}")
        if most_words is not None and num_words > most_words:
            hits.append(f"has {num_words} words, at most {most_words}: {sentence}")
    return hits


def modules_of(folder: Path) -> list[Path]:
    """Return the modules of a room, its rooms included."""
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]


def _comments(source: str) -> Iterator[str]:
    block, last_line = "", -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not re.match(r"#\s*(type:|noqa|!|mypy|fmt)", token.string):
            joined = token.start[0] == last_line + 1
            if block and not joined:
                yield block
            block = f"{block} {token.string.lstrip('# ')}" if joined else token.string.lstrip("# ")
            last_line = token.start[0]
    if block:
        yield block


def _text_of(node: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(str(part.value) if isinstance(part, ast.Constant) else _CODE_NAME for part in node.values)
