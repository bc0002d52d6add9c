"""SheetClip, draw_contact_sheet: draw clips into one picture, with a caption and a row of frames per view."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw
from torch import Tensor

from tsn_tsm_plugin.safe_text import terminal_text
from tsn_tsm_plugin.visualization.drawing import font

_TEXT_PX = 14
_LINE_PX = 20
_GAP_PX = 2
_BLOCK_GAP_PX = 14
_MARGIN_PX = 12
_LEAST_WIDTH_PX = 640
_MOST_CHARS = 300
_PAPER = (255, 255, 255)
_INK = (30, 30, 30)
_FAINT = (120, 120, 120)
_ALARM = (180, 30, 30)


@dataclass(frozen=True)
class SheetClip:
    """A clip on the sheet.

    Attributes:
        caption: First line, such as the label.
        note: Second part of the line, in grey, such as the file.
        views: uint8 (V, C, T, H, W), or None for an unreadable video.
        view_names: Name of each view; not needed for a single view.
    """

    caption: str
    note: str
    views: Tensor | None
    view_names: Sequence[str] = ()


def draw_contact_sheet(
    clips: Sequence[SheetClip], *, heading: str, details: str, frame_px: int
) -> Image.Image:
    """Draw the sheet.

    Args:
        clips: At least one clip.
        heading: First line of the sheet.
        details: Grey text below the heading, wrapped to the width of the sheet.
        frame_px: Height of a frame on the sheet, in pixels.
    """
    heading, details = _line(heading), terminal_text(details)
    clips = [replace(clip, caption=_line(clip.caption), note=_line(clip.note)) for clip in clips]
    names = [name for clip in clips if _num_views(clip) > 1 for name in clip.view_names]
    left = _MARGIN_PX + max((int(_text_width(name)) + _MARGIN_PX for name in names), default=0)
    captions = [_text_width(f"{clip.caption}   {clip.note}") for clip in clips if clip.views is not None]
    width = max(
        _LEAST_WIDTH_PX, *(left + _row_width(clip, frame_px) for clip in clips), *map(math.ceil, captions)
    )
    lines = _wrap(details, width - _MARGIN_PX)
    top = _MARGIN_PX + (1 + len(lines)) * _LINE_PX
    height = top + sum(_block_height(clip, frame_px) for clip in clips) + _MARGIN_PX
    sheet = Image.new("RGB", (width + _MARGIN_PX, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.font = font(_TEXT_PX)
    draw.text((_MARGIN_PX, _MARGIN_PX), heading, fill=_INK)
    for number, line in enumerate(lines, start=1):
        draw.text((_MARGIN_PX, _MARGIN_PX + number * _LINE_PX), line, fill=_FAINT)
    for clip in clips:
        _draw_clip(sheet, draw, clip, left=left, top=top + _BLOCK_GAP_PX, frame_px=frame_px)
        top += _block_height(clip, frame_px)
    return sheet


def _line(text: str) -> str:
    return terminal_text(text, max_chars=_MOST_CHARS)


def _text_width(text: str) -> float:
    return font(_TEXT_PX).getlength(text)


def _wrap(text: str, width: int) -> list[str]:
    """Wrap a text at spaces into lines of at most ``width`` pixels; longer words stay whole."""
    lines: list[str] = []
    for word in text.split():
        if lines and _text_width(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _num_views(clip: SheetClip) -> int:
    return 0 if clip.views is None else len(clip.views)


def _frame_width(clip: SheetClip, frame_px: int) -> int:
    assert clip.views is not None, "only clips with frames are measured"
    height, width = clip.views.shape[-2:]
    return max(1, round(frame_px * width / height))


def _row_width(clip: SheetClip, frame_px: int) -> int:
    if clip.views is None:
        return 0
    return clip.views.shape[2] * (_frame_width(clip, frame_px) + _GAP_PX)


def _block_height(clip: SheetClip, frame_px: int) -> int:
    return _BLOCK_GAP_PX + _LINE_PX + _num_views(clip) * (frame_px + _GAP_PX)


def _draw_clip(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, clip: SheetClip, *, left: int, top: int, frame_px: int
) -> None:
    draw.text((_MARGIN_PX, top), clip.caption, fill=_INK if clip.views is not None else _ALARM)
    note_left = _MARGIN_PX + _text_width(f"{clip.caption}   ")
    draw.text((note_left, top), clip.note, fill=_FAINT)
    if clip.views is None:
        return
    top += _LINE_PX
    frame_width = _frame_width(clip, frame_px)
    for number, view_CTHW in enumerate(clip.views):
        if len(clip.views) > 1:
            text_top = top + (frame_px - _LINE_PX) // 2
            draw.text((_MARGIN_PX, text_top), clip.view_names[number], fill=_FAINT)
        for position, frame_CHW in enumerate(view_CTHW.unbind(1)):
            picture = Image.fromarray(frame_CHW.permute(1, 2, 0).contiguous().numpy())
            picture = picture.resize((frame_width, frame_px), Image.Resampling.LANCZOS)
            sheet.paste(picture, (left + position * (frame_width + _GAP_PX), top))
        top += frame_px + _GAP_PX
