"""frame_namer, flow_templates: file names of frames, from a template with a field for a number."""

import re
import string
from collections.abc import Callable

_SPECIFICATION = re.compile(r"0?\d?d?")
# An x without letters next to it, as in flow_x_00001.jpg and x/00001.jpg.
_AXIS = re.compile(r"(?<![A-Za-z])x(?![A-Za-z])")


def frame_namer(template: str) -> Callable[[int], str]:
    """Return the function from a frame's number to its file, relative to the folder of the video.

    Args:
        template: A name with one field for an integer, such as ``{}`` or ``{:05}``.

    Raises:
        ValueError: If the template has another form, or leaves the folder.
    """
    fields = _fields(template)
    is_number = len(fields) == 1 and fields[0][0] in ("", "0") and fields[0][2] is None
    leads_out = template.startswith("/") or ".." in template.split("/") or bool(set(template) & set("\\\0"))
    if leads_out or not is_number or not _SPECIFICATION.fullmatch(fields[0][1] or ""):
        raise ValueError(
            "must hold one field for a number, such as 'img_{:05}.jpg', and stay in the folder, "
            f"got {template!r}"
        )
    return template.format


def flow_templates(template: str) -> tuple[str, str]:
    """Return the names of the horizontal and of the vertical images.

    Example:
        >>> flow_templates("flow_{}_{:05}.jpg")
        ('flow_x_{:05}.jpg', 'flow_y_{:05}.jpg')
        >>> flow_templates("x/{:05}.png")
        ('x/{:05}.png', 'y/{:05}.png')

    Args:
        template: A name with fields for ``x`` or ``y`` and the number, or with a literal ``x`` and one field.

    Raises:
        ValueError: If the template does not distinguish x and y.
    """
    fields = _fields(template)
    if len(fields) == 2 and "{}" in template:
        pair = template.replace("{}", "x", 1), template.replace("{}", "y", 1)
    elif len(fields) == 1 and _AXIS.search(template):
        pair = template, _AXIS.sub("y", template)
    else:
        raise ValueError(
            "must hold a field for x or y and one for a number, such as 'flow_{}_{:05}.jpg', or an x and one "
            f"field, such as 'flow_x_{{:05}}.jpg' or 'x/{{:05}}.jpg', got {template!r}"
        )
    for name in pair:
        frame_namer(name)
    return pair


def _fields(template: str) -> list[tuple[str | None, str | None, str | None]]:
    """Return name, specification and conversion of each field; none if the template cannot be parsed."""
    try:
        return [part[1:] for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError:
        return []
