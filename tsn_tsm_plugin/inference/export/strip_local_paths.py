"""redact_recipe, strip_local_path: remove local paths from a recipe before publishing."""

import re
from typing import Any

from tsn_tsm_plugin.config import CfgNode

# Matches URLs and paths that start with /, ~, $VAR, C:\ or ./. The path may follow a colon or equals sign in
# a longer text, such as timm/local-dir:/home/jane/net.
_ROOT = r"[A-Za-z][\w+.@-]*:[/\\]|[/\\](?=\S)|~[\w.-]*[/\\]|\$\{?\w+\}?[/\\]|\.{1,2}[/\\]"
_LOCAL_PATH = re.compile(rf"(?:^|(?<=[:=]))(?:{_ROOT}).*", re.DOTALL)


def redact_recipe(cfg: CfgNode) -> CfgNode:
    """Return a copy in which every path and URL is reduced to its last component.

    The dataset folder keeps its name. Keys that are meaningful on this machine only, such as the run folder,
    are emptied.

    Args:
        cfg: A recipe; not modified.
    """
    public = cfg.clone()
    public.defrost()
    _reduce_(public)
    # These keys are meaningful on this machine only.
    public.OUTPUT_DIR = public.TRAIN.CHECKPOINT_FILE_PATH = public.TEST.CHECKPOINT_FILE_PATH = ""
    public.DATA.PATH_TO_DATA_DIR = re.split(r"[/\\]", public.DATA.PATH_TO_DATA_DIR.rstrip("/\\"))[-1]
    return public


def strip_local_path(text: str) -> str:
    """Reduce an absolute path or URL to its last component; return other text unchanged.

    Example:
        >>> strip_local_path("/home/jane/lists/train.txt")
        'train.txt'
        >>> strip_local_path("https://jane:secret@example.org/nets/r50.pth?token=1")
        'r50.pth'
        >>> strip_local_path("lists/train.txt")
        'lists/train.txt'
    """
    return _LOCAL_PATH.sub(_last_name, text)


def _last_name(match: re.Match[str]) -> str:
    text = match[0]
    if "://" in text:
        text = re.split(r"[?#]", text.partition("://")[2])[0]
    # Drop the first component (host, drive, user or variable).
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
