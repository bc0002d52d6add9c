"""RecipeLoader, RecipeDumper, compose, construct, parse: YAML as plain data of bounded size.

Plain words follow YAML 1.2: ``1:59`` and ``on`` are text, ``010`` is ten, ``1e-4`` is a number.
"""

import re
from typing import Any

import yaml

MAX_CHARACTERS = 1 << 20
MAX_NODES = 10_000
MAX_DEPTH = 32

_PREFIX = "tag:yaml.org,2002:"
_PLAIN_WORDS = (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
)


class RecipeLoader(yaml.SafeLoader):
    """Reads plain values, lists and mappings; bounds the number of nodes with all aliases expanded."""

    yaml_implicit_resolvers: dict[str, Any] = {}
    yaml_constructors = {
        tag: constructor
        for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag in {_PREFIX + kind for kind in ("null", "bool", "str", "seq", "map")}
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._count = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one node like PyYAML, and count its size with all aliases expanded."""
        is_alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark
        before = self._count
        self._count += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(problem=_too(f"deep: {MAX_DEPTH} levels"), problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias:
            # An alias of an unfinished node contains itself.
            self._count += self._sizes.get(id(node), MAX_NODES)
        if self._count > MAX_NODES:
            raise yaml.composer.ComposerError(problem=_too(f"large: {MAX_NODES} values"), problem_mark=mark)
        if not is_alias:
            self._sizes[id(node)] = self._count - before
        return node


class RecipeDumper(yaml.SafeDumper):
    """Writes YAML that every YAML reader parses alike, with each list on one line."""

    def represent_list(self, data: list[Any]) -> yaml.Node:
        """Write a list as ``[a, b]``."""
        return self.represent_sequence(f"{_PREFIX}seq", data, flow_style=True)


RecipeDumper.add_representer(list, RecipeDumper.represent_list)
for _kind, _words, _first in _PLAIN_WORDS:
    for _class in (RecipeLoader, RecipeDumper):
        _class.add_implicit_resolver(
            f"{_PREFIX}{_kind}", re.compile(rf"(?:{_words})\Z", re.ASCII), [*_first, ""]
        )


def _number(kind: type) -> Any:
    def construct(loader: RecipeLoader, node: yaml.ScalarNode) -> Any:
        text = loader.construct_scalar(node).lower()
        try:
            return kind(text.replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            raise yaml.constructor.ConstructorError(
                problem=f"{text[:40]!r} is not a number", problem_mark=node.start_mark
            ) from None

    return construct


RecipeLoader.add_constructor(f"{_PREFIX}int", _number(int))
RecipeLoader.add_constructor(f"{_PREFIX}float", _number(float))


def _too(what: str) -> str:
    return f"a config may not be too {what} at most, with its aliases expanded"


def compose(text: str) -> yaml.Node | None:
    """Return the tree of a YAML document; ``None`` for an empty one.

    Raises:
        yaml.YAMLError: If the text is not YAML, or expands to too many nodes.
    """
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"a config may not be longer than {MAX_CHARACTERS} characters")
    return yaml.compose(text, Loader=RecipeLoader)


def parse(text: str) -> Any:
    """Return the plain values of a YAML document; ``None`` for an empty one.

    Raises:
        yaml.YAMLError: See :func:`compose` and :func:`construct`.
    """
    node = compose(text)
    return None if node is None else construct(node)


def construct(node: yaml.Node) -> Any:
    """Return the plain values of a tree.

    Raises:
        yaml.YAMLError: If the tree holds other values.
    """
    return RecipeLoader("").construct_document(node)
