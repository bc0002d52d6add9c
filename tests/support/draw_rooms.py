"""Draw the rooms of the library and of the launcher, and their imports, as Mermaid graphs.

    python tests/support/draw_rooms.py [--write]     # prints the graphs, or writes them into CONTRIBUTING.md

An arrow that follows from other arrows is not drawn: a room may import everything below it.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- rooms: begin -->", "<!-- rooms: end -->"


def imported_rooms(package: str) -> dict[str, set[str]]:
    """Return each room of a package with the rooms that it imports."""
    rooms: dict[str, set[str]] = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT / package).with_suffix("").parts
        if parts[0] == "__init__":
            continue
        found = rooms.setdefault(parts[0], set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                base = (package, *parts[:-1])[: len(parts) + 1 - node.level] if node.level else ()
                words = [*base, *(node.module or "").split(".")]
                names = [words[1]] if len(words) > 1 and words[1] else [alias.name for alias in node.names]
                found |= {name for name in names if words[0] == package}
    return {room: {other for other in found if other in rooms} - {room} for room, found in rooms.items()}


def without_shortcuts(rooms: dict[str, set[str]]) -> dict[str, set[str]]:
    """Remove each arrow whose target is also reached through another room."""

    def reached(room: str) -> set[str]:
        return {far for near in rooms[room] for far in {near} | reached(near)}

    return {
        room: {other for other in direct if not any(other in reached(near) for near in direct - {other})}
        for room, direct in rooms.items()
    }


def mermaid(package: str) -> str:
    """Return the graph of a package, upper rooms first."""
    arrows = [
        f"  {room} --> {other}"
        for room, others in without_shortcuts(imported_rooms(package)).items()
        for other in sorted(others)
    ]
    return "\n".join(["```mermaid", "graph TD", *arrows, "```"])


def drawing() -> str:
    """Return the text between the marks of CONTRIBUTING.md."""
    return f"{BEGIN}\n{mermaid('tsn_tsm_plugin')}\n\n{mermaid('launch')}\n{END}"


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN, 1)
        PAGE.write_text(before + drawing() + rest.split(END, 1)[1], encoding="utf-8")
    else:
        print(drawing())
