"""The shape of the library: imports only go down, cfg stays in few rooms, modules stay small."""

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "tsn_tsm_plugin"
MODULES = sorted(LIBRARY.rglob("*.py"))
MAX_LINES = 350

RANKS = [
    ("errors", "log", "distributed", "host_memory", "requirements", "registry", "activation"),
    ("plugins",),
    ("config",),
    ("layers", "transforms"),
    ("data", "models", "solver", "evaluation"),
    ("engine",),
    ("tools",),
]
RANK_OF_ROOM = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}
ROOMS_THAT_SEE_CFG = ("config", "engine", "tools")


def room_of(path: Path) -> str:
    return path.relative_to(LIBRARY).with_suffix("").parts[0]


def imported_rooms(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == "tsn_tsm_plugin" and len(part) > 1}


def outside_packages(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
    return names


def id_of(path: Path) -> str:
    return str(path.relative_to(LIBRARY))


def test_modules_were_found():
    assert len(MODULES) > 30


@pytest.mark.parametrize("path", MODULES, ids=id_of)
def test_a_module_has_at_most_350_lines(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", MODULES, ids=id_of)
def test_a_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.parent != LIBRARY or p.stem != "__init__"], ids=id_of
)
def test_imports_go_to_lower_rooms_only(path):
    room = room_of(path)
    above_or_beside = {
        other
        for other in imported_rooms(ast.parse(path.read_text()))
        if other != room and RANK_OF_ROOM.get(other, -1) >= RANK_OF_ROOM[room]
    }
    allowed_among_leaves = set(RANKS[0]) if room in RANKS[0] else set()
    assert above_or_beside - allowed_among_leaves == set()


@pytest.mark.parametrize("path", MODULES, ids=id_of)
def test_nothing_imports_the_launcher_or_the_recipes(path):
    assert outside_packages(ast.parse(path.read_text())).isdisjoint({"launch", "projects", "tests"})


@pytest.mark.parametrize("path", MODULES, ids=id_of)
def test_only_builders_engine_tools_and_config_see_cfg(path):
    if room_of(path) in ROOMS_THAT_SEE_CFG or path.stem == "build":
        return
    functions = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)]
    takes_cfg = [f.name for f in functions if any(a.arg == "cfg" for a in f.args.args + f.args.kwonlyargs)]
    assert takes_cfg == []


@pytest.mark.parametrize("path", MODULES, ids=id_of)
def test_checkpoints_are_only_ever_loaded_as_data(path):
    for node in ast.walk(ast.parse(path.read_text())):
        is_load = isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
        if is_load:
            assert {k.arg: ast.unparse(k.value) for k in node.keywords}.get("weights_only") == "True"
