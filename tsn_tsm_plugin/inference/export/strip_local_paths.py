"""A recipe for others: the same settings, without the places where somebody keeps things."""

import re
from typing import Any

from tsn_tsm_plugin.config import CfgNode

# A URL, or a path from the root of a disk, of a user's folder or of a variable, or from here; as a whole, or
# after the colon or equals sign of a longer text, such as timm/local-dir:/home/jane/net.
_ROOT = r"[A-Za-z][\w+.@-]*:[/\\]|[/\\](?=\S)|~[\w.-]*[/\\]|\$\{?\w+\}?[/\\]|\.{1,2}[/\\]"
_PLACE = re.compile(rf"(?:^|(?<=[:=]))(?:{_ROOT}).*", re.DOTALL)


def redact_recipe(cfg: CfgNode) -> CfgNode:
    """Return a copy in which a path or URL is its last name only, wherever it stands.

    The folder of the dataset keeps its name, and what was made by this machine alone, such as the run folder,
    is left out.

    Args:
        cfg: A recipe; not modified.
    """
    public = cfg.clone()
    public.defrost()
    _reduce_(public)
    # Of these a name means nothing to others.
    public.OUTPUT_DIR = public.TRAIN.CHECKPOINT_FILE_PATH = public.TEST.CHECKPOINT_FILE_PATH = ""
    public.DATA.PATH_TO_DATA_DIR = re.split(r"[/\\]", public.DATA.PATH_TO_DATA_DIR.rstrip("/\\"))[-1]
    return public


def strip_local_path(text: str) -> str:
    """Reduce a path of a machine, or a URL, to its last name; any other text stays as it is.

    Example:
        >>> strip_local_path("/home/jane/lists/train.txt")
        'train.txt'
        >>> strip_local_path("https://jane:secret@example.org/nets/r50.pth?token=1")
        'r50.pth'
        >>> strip_local_path("lists/train.txt")
        'lists/train.txt'
    """
    return _PLACE.sub(_last_name, text)


def _last_name(place: re.Match[str]) -> str:
    text = place[0]
    if "://" in text:
        text = re.split(r"[?#]", text.partition("://")[2])[0]
    # The first is the host, the disk, the user or the variable, or nothing.
    names = [name for name in re.split(r"[/\\]", text)[1:] if name]
    return names[-1] if names else ""


def _reduce_(node: CfgNode) -> None:
    for name, value in node.items():
        if isinstance(value, CfgNode):
            _reduce_(value)
        else:
            node[name] = _reduced(value)


def _reduced(value: Any) -> Any:
    if isinstance(value, str):
        return strip_local_path(value)
    if isinstance(value, list | tuple):
        return [_reduced(item) for item in value]
    return value
