"""Pages, recipes, docstrings, comments and messages hold the rules of plain English.

A sentence begins with the thing or a verb, has no old word, and in pages has a bounded length.
"""

from pathlib import Path

import pytest
from support.plain_language import (
    hits_of,
    modules_of,
    sentences_of_module,
    sentences_of_page,
    sentences_of_recipe,
)

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(
            page
            for folder in ("projects", "launch", "tests")
            for page in (ROOT / folder).rglob("*.md")
            if page.parent.name != "results"
        ),
    ]
)
RECIPES = sorted((ROOT / "projects").rglob("*.yaml"))
# Each room and module of the library, the launcher, the projects and the tests, but this check and its test.
ROOMS = sorted(
    [
        ROOT / "hubconf.py",
        *(
            room
            for folder in ("tsn_tsm_plugin", "launch", "projects", "tests")
            for room in (ROOT / folder).iterdir()
            if modules_of(room) and (room.is_dir() or room.suffix == ".py")
        ),
    ]
)
CHECK = (Path(__file__), ROOT / "tests" / "support" / "plain_language.py")
# Phrases that are right: quoted messages and examples, and words in their plain sense.
ALLOWED_IN_PAGES = frozenset(
    {
        "has no residual blocks that the temporal shift can name",
        "cannot tell a motion from its reverse",
        "(theirs)",
        "Where things are",
        "Comments say why",
        "Asked before memory is",
        "Whichever of the two",
        "an arrow that follows from others is left out",
    }
)
ALLOWED_IN_CODE: frozenset[str] = frozenset()


def most_words(page: Path) -> int:
    """Pages for users are stricter than the others."""
    return 25 if page == ROOT / "README.md" or page.is_relative_to(ROOT / "projects") else 30


def id_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_a_page_is_plain_and_its_sentences_are_short(page):
    hits = hits_of(sentences_of_page(page.read_text()), allowed=ALLOWED_IN_PAGES, most_words=most_words(page))
    assert not hits, "\n".join(hits)


@pytest.mark.parametrize("recipe", RECIPES, ids=id_of)
def test_the_comments_of_a_recipe_are_plain_and_short(recipe):
    hits = hits_of(
        sentences_of_recipe(recipe.read_text()), allowed=frozenset(), most_words=most_words(recipe)
    )
    assert not hits, "\n".join(hits)


@pytest.mark.parametrize("room", ROOMS, ids=id_of)
def test_docstrings_comments_messages_and_test_names_of_a_room_are_plain(room):
    hits = [
        f"{id_of(module)} {hit}"
        for module in modules_of(room)
        if module not in CHECK
        for hit in hits_of(sentences_of_module(module.read_text()), allowed=ALLOWED_IN_CODE)
    ]
    assert not hits, "\n".join(hits)


def test_the_check_finds_openings_old_words_and_long_sentences_in_pages():
    page = f"# What it does\n\nIt waits\nfor ever. Fine.\n\n| a | Of this |\n\n- {'word ' * 31}\n"
    hits = hits_of(sentences_of_page(page), allowed=frozenset(), most_words=30)
    assert [hit.split(":")[0] for hit in hits] == [
        "begins with 'What'",
        "has 'for ever'",
        "begins with 'Of'",
        "has 31 words, at most 30",
    ]


def test_the_check_skips_code_and_links_in_pages():
    page = (
        "Run `where it says` first.\n\n```\nWhere it says so for ever\n```\n\n[Read](what_it_says.md) it.\n"
    )
    assert not hits_of(sentences_of_page(page), allowed=frozenset(), most_words=30)


def test_the_check_reads_docstrings_comments_messages_and_names_of_tests_but_no_other_names():
    source = (
        '"""Where it all begins."""\n'
        "# It is left out.\n"
        "said = {'that of': 1}\n"
        'raise ValueError(f"it {said} must wait for ever")\n'
        "def test_a_fault_is_said(): ...\n"
    )
    hits = hits_of(sentences_of_module(source), allowed=frozenset())
    assert sorted(hit.split(":")[0] for hit in hits) == [
        "begins with 'Where'",
        "has 'for ever'",
        "has 'left out'",
        "has 'said'",
    ]
