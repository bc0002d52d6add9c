"""font, fit, percent, clock, darken: text, colours, number formats and shapes of all pictures."""

from functools import lru_cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from tsn_tsm_plugin.safe_text import terminal_text

Colour = tuple[int, int, int]

PAPER: Colour = (18, 20, 24)
INK: Colour = (236, 238, 242)
FAINT: Colour = (138, 144, 156)
RULE: Colour = (52, 56, 64)
# Okabe and Ito's palette for colour-blind readers, on a dark background.
SERIES: tuple[Colour, ...] = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66))
# Longer names fit into no picture.
_MOST_CHARS = 300


@lru_cache(maxsize=32)
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which is part of matplotlib and covers most scripts of class names.

    Args:
        size: Font size in pixels.
        bold: Use the bold font.
    """
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def fit(text: str, width: float, typeface: ImageFont.FreeTypeFont) -> str:
    """Return the text, shortened with an ellipsis to ``width`` pixels."""
    text = terminal_text(text, max_chars=_MOST_CHARS)
    if typeface.getlength(text) <= width:
        return text
    while text and typeface.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def percent(probability: float) -> str:
    """Format a probability as a whole percentage; only exactly 0 and 1 give 0 % and 100 %."""
    if 0 < probability < 0.01:
        return "<1 %"
    if 0.99 < probability < 1:
        return ">99 %"
    return f"{100 * probability:.0f} %"


def clock(seconds: float, *, length: float = 60.0) -> str:
    """Format a time in a video as ``m:ss`` or ``h:mm:ss``, or ``s.t s`` in videos below 20 seconds.

    Args:
        seconds: The time.
        length: Length of the video or of the shown part, in seconds.
    """
    if length < 20:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def darken(image: Image.Image, box: tuple[int, int, int, int], *, radius: int, opacity: int = 168) -> None:
    """Draw a translucent dark panel with round corners on an RGB image, in place."""
    left, top, right, bottom = box
    mask = Image.new("L", (right - left, bottom - top), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, right - left - 1, bottom - top - 1), radius, fill=opacity)
    image.paste(PAPER, (left, top), mask)
