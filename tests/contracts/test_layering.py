"""The shape of the code: imports only go down, cfg stays in few rooms, modules stay small."""

import ast
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "tsn_tsm_plugin"
LAUNCHER = ROOT / "launch"
MODULES = sorted(LIBRARY.rglob("*.py"))
LAUNCHER_MODULES = sorted(LAUNCHER.rglob("*.py"))
MAX_LINES = 350

# From the bottom to the top: a room imports lower ranks only.
LIBRARY_RANKS = [
    ("safe_text",),
    ("errors", "log", "host_memory", "requirements"),
    ("atomic_files", "file_lock", "distributed", "registry", "layers"),
    ("storage",),
    ("paths",),
    ("ranks", "checkpoints", "pytorchvideo_patch"),
    ("config", "evaluation"),
    ("transforms",),
    ("data", "models", "solver", "migrate"),
    ("runs", "visualization"),
    ("engine",),
    ("inference",),
    ("tools",),
]
LAUNCHER_RANKS = [
    ("errors", "code_root"),
    ("cluster",),
    ("rank",),
    ("track",),
    ("submit_job",),
    ("commands",),
    ("submit",),
]
ROOMS_THAT_SEE_CFG = ("config", "engine", "inference", "migrate", "runs", "tools")


def room_of(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").parts[0]


def imported_modules(path: Path) -> set[str]:
    """Return the dotted names that a module imports; relative imports are made absolute."""
    package = path.relative_to(ROOT).parts[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            names |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def imported_rooms(path: Path, package: str) -> set[str]:
    parts = [name.split(".") for name in imported_modules(path)]
    return {part[1] for part in parts if part[0] == package and len(part) > 1}


def upward_imports(paths: Iterable[Path], root: Path, ranks: list[tuple[str, ...]]) -> list[str]:
    rank_of_room = {room: rank for rank, rooms in enumerate(ranks) for room in rooms}
    return [
        f"{path.relative_to(ROOT)} imports {other}"
        for path in paths
        if (room := room_of(path, root)) != "__init__"
        for other in sorted(imported_rooms(path, root.name) - {room})
        if rank_of_room.get(other, -1) >= rank_of_room[room]
    ]


def module_circles(paths: Iterable[Path]) -> list[str]:
    """Return the modules that import themselves over others, by imports at the head of a module."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}
    imports = {
        name: {
            found if found in names else found.rpartition(".")[0]
            for found in imported_modules(path)
            if found in names or found.rpartition(".")[0] in names
        }
        for name, path in names.items()
    }

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(imports[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += imports[name]
        return seen

    return sorted(name for name in names if name in reached(name))


def modules_with(paths: Iterable[Path], is_fault: Callable[[Path], bool]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths if is_fault(path)]


def takes_cfg(path: Path) -> bool:
    functions = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)]
    return any(a.arg == "cfg" for f in functions for a in f.args.args + f.args.kwonlyargs)


def loads_more_than_data(path: Path) -> bool:
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    loads = [call for call in calls if ast.unparse(call.func) == "torch.load"]
    return any(
        {k.arg: ast.unparse(k.value) for k in call.keywords}.get("weights_only") != "True" for call in loads
    )


def test_modules_were_found():
    assert len(MODULES) > 100
    assert len(LAUNCHER_MODULES) > 20


def test_a_module_has_at_most_350_lines():
    assert (
        modules_with(MODULES + LAUNCHER_MODULES, lambda path: len(path.read_text().splitlines()) > MAX_LINES)
        == []
    )


def test_a_module_has_a_docstring():
    assert (
        modules_with(
            MODULES + LAUNCHER_MODULES, lambda path: not ast.get_docstring(ast.parse(path.read_text()))
        )
        == []
    )


def test_the_loop_has_at_most_22_files():
    assert len(list((LIBRARY / "engine").rglob("*.py"))) <= 22


def test_imports_of_the_library_go_to_lower_rooms_only():
    assert upward_imports(MODULES, LIBRARY, LIBRARY_RANKS) == []


def test_imports_of_the_launcher_go_to_lower_rooms_only():
    assert upward_imports(LAUNCHER_MODULES, LAUNCHER, LAUNCHER_RANKS) == []


def test_no_module_imports_itself_over_others():
    assert module_circles(MODULES + LAUNCHER_MODULES) == []


def test_nothing_imports_the_launcher_or_the_recipes():
    outside = {"launch", "projects", "tests"}
    assert (
        modules_with(MODULES, lambda path: {n.split(".")[0] for n in imported_modules(path)} & outside) == []
    )


def test_only_builders_and_upper_rooms_see_cfg():
    lower = [m for m in MODULES if room_of(m, LIBRARY) not in ROOMS_THAT_SEE_CFG and m.stem != "build"]
    assert modules_with(lower, takes_cfg) == []


def test_checkpoints_are_only_ever_loaded_as_data():
    assert modules_with(MODULES + LAUNCHER_MODULES, loads_more_than_data) == []
