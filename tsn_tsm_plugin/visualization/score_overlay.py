"""ScoreOverlay: the most likely classes on a frame, and a timeline of their scores below it.

Axes: N points in time, K classes.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from tsn_tsm_plugin.visualization.drawing import (
    FAINT,
    INK,
    PAPER,
    RULE,
    SERIES,
    Colour,
    clock,
    darken,
    fit,
    font,
    percent,
)

# Smallest and largest number of rows; frames are scaled into this range, so that text stays readable.
_MIN_ROWS, _MAX_ROWS = 360, 720
_NUM_ROWS_OF_PANEL = 5
_SMOOTH = 2
_LEAST_PEAK = 0.02


class ScoreOverlay:
    """Draws frames with their scores.

    Args:
        class_names: K names.
        width: Columns of the source's frames.
        height: Rows of the source's frames.
    """

    def __init__(self, class_names: Sequence[str], *, width: int, height: int) -> None:
        rows = min(max(height, _MIN_ROWS), _MAX_ROWS)
        self.class_names = list(class_names)
        self.height = rows // 2 * 2
        self.width = max(round(width * rows / height), 320) // 2 * 2
        self._frame_width = round(width * rows / height)
        self.unit = max(11, rows // 30)
        self.strip_height = 6 * self.unit // 2 * 2
        # Left and right end of the strip's axis, base line and font of its labels.
        self._x0, self._x1 = 2 * self.unit, self.width - self.unit
        self._bottom = self.strip_height - round(0.35 * self.unit)
        self._small = font(max(9, round(0.7 * self.unit)))

    def draw(
        self,
        rgb_HWC: np.ndarray,
        probabilities: np.ndarray,
        colours: dict[int, Colour],
        strip: Image.Image,
        *,
        note: str = "",
    ) -> np.ndarray:
        """Return a picture, uint8 RGB: the frame with the most likely classes, and the timeline below.

        Args:
            rgb_HWC: The frame, uint8.
            probabilities: (K,) of this frame.
            colours: Colours of the classes in the timeline, by class.
            strip: Result of :meth:`timeline`.
            note: Short text in the upper right corner.
        """
        canvas = Image.new("RGB", (self.width, self.height + self.strip_height), PAPER)
        frame = Image.fromarray(rgb_HWC).resize((self._frame_width, self.height), Image.Resampling.BICUBIC)
        canvas.paste(frame, ((self.width - self._frame_width) // 2, 0))
        self._panel(canvas, probabilities, colours)
        if note:
            self._note(canvas, note)
        canvas.paste(strip, (0, self.height))
        return np.asarray(canvas)

    def _panel(self, canvas: Image.Image, probabilities: np.ndarray, colours: dict[int, Colour]) -> None:
        unit = self.unit
        count = min(_NUM_ROWS_OF_PANEL, len(self.class_names))
        # Stay within the frame, which may be narrower than the picture.
        frame_left, frame_width = (self.width - self._frame_width) // 2, self._frame_width
        width = min(max(frame_width - 2 * unit, 12 * unit), max(20 * unit, round(0.4 * frame_width)))
        row = round(1.75 * unit)
        height = count * row + unit
        left = min(max(frame_left + unit, 0), self.width - width)
        top = self.height - height - unit
        darken(canvas, (left, top, left + width, top + height), radius=unit // 2)
        draw = ImageDraw.Draw(canvas)
        number_width = round(3.8 * unit)
        for index, label in enumerate(np.argsort(-probabilities, kind="stable")[:count].tolist()):
            y = top + unit // 2 + index * row
            probability = float(probabilities[label])
            colour = colours.get(label, FAINT)
            ink = INK if index == 0 else (196, 200, 208)
            typeface = font(unit, bold=index == 0)
            inner = width - 2 * unit
            name = fit(self.class_names[label], inner - number_width, typeface)
            draw.text((left + unit, y), name, ink, typeface)
            draw.text((left + width - unit, y), percent(probability), ink, typeface, anchor="ra")
            bar_top, bar_bottom = y + round(1.32 * unit), y + round(1.5 * unit)
            draw.rectangle((left + unit, bar_top, left + unit + inner - 1, bar_bottom), fill=RULE)
            filled = round(inner * probability)
            if filled:
                draw.rectangle((left + unit, bar_top, left + unit + filled - 1, bar_bottom), fill=colour)

    def _note(self, canvas: Image.Image, note: str) -> None:
        typeface = font(round(0.85 * self.unit))
        width = round(typeface.getlength(note)) + self.unit
        left, top = self.width - width - self.unit, self.unit
        darken(canvas, (left, top, left + width, top + round(1.6 * self.unit)), radius=self.unit // 3)
        where = (left + self.unit // 2, top + round(0.8 * self.unit))
        ImageDraw.Draw(canvas).text(where, note, INK, typeface, anchor="lm")

    def timeline(
        self,
        seconds: np.ndarray,
        probabilities_NK: np.ndarray,
        colours: dict[int, Colour],
        *,
        begin: float,
        end: float,
    ) -> Image.Image:
        """Return the strip below the frame: one line per coloured class over the time from begin to end.

        Args:
            seconds: Times (N,), increasing.
            probabilities_NK: Probabilities at each time.
            colours: The classes to show.
            begin: Time at the left edge.
            end: Time at the right edge.
        """
        # Draw larger and reduce, because PIL's lines are jagged.
        scale = _SMOOTH
        strip = Image.new("RGB", (self.width * scale, self.strip_height * scale), PAPER)
        draw = ImageDraw.Draw(strip)
        for level in (0.0, 0.5, 1.0):
            y = self._y(level) * scale
            draw.line((self._x0 * scale, y, self._x1 * scale, y), fill=RULE, width=scale)
        for label, colour in reversed(list(colours.items())):
            points = [
                (self.x_of(float(t), begin, end) * scale, self._y(float(p)) * scale)
                for t, p in zip(seconds, probabilities_NK[:, label], strict=True)
            ]
            if len(points) > 1:
                draw.line(points, fill=colour, width=2 * scale, joint="curve")
        strip = strip.resize((self.width, self.strip_height), Image.Resampling.LANCZOS)
        draw = ImageDraw.Draw(strip)
        for level in (0.0, 1.0):
            where = (self._x0 - self.unit // 3, self._y(level))
            draw.text(where, f"{level:.0f}", FAINT, self._small, anchor="rm")
        for x, moment, anchor in ((self._x0, max(begin, 0.0), "ls"), (self._x1, end, "rs")):
            text = clock(moment, length=end - begin)
            draw.text((x, self._bottom), text, FAINT, self._small, anchor=anchor)
        return strip

    def with_playhead(self, strip: Image.Image, x: float, *, label: str) -> Image.Image:
        """Return the strip with a line at ``x``, dimmed right of the line."""
        x = round(x)
        shown = Image.blend(strip, Image.new("RGB", strip.size, PAPER), 0.62)
        shown.paste(strip.crop((0, 0, x, strip.height)), (0, 0))
        draw = ImageDraw.Draw(shown)
        draw.line((x, self._y(1.0), x, self._y(0.0)), fill=INK, width=1)
        half = self._small.getlength(label) / 2
        where = min(max(x, self._x0 + half), self._x1 - half)
        edges = (self._x0 + 2.6 * self.unit, self._x1 - 2.6 * self.unit)
        if edges[0] < where - half and where + half < edges[1]:
            draw.text((where, self._bottom), label, INK, self._small, anchor="ms")
        return shown

    def x_of(self, seconds: float, begin: float, end: float) -> float:
        """Return the column of a time in the strip."""
        share = (seconds - begin) / max(end - begin, 1e-6)
        return self._x0 + min(max(share, 0.0), 1.0) * (self._x1 - self._x0)

    def _y(self, probability: float) -> float:
        top, bottom = round(0.6 * self.unit), self.strip_height - round(1.5 * self.unit)
        return bottom - probability * (bottom - top)


def colours_of(probabilities_NK: np.ndarray) -> dict[int, Colour]:
    """Assign colours to the classes that are most likely at some time, in descending order.

    A class that stays on the axis gets no colour: its line would hide other lines.
    """
    peaks = probabilities_NK.max(0)
    order = np.argsort(-peaks, kind="stable")[: len(SERIES)].tolist()
    shown = [label for label in order if peaks[label] >= _LEAST_PEAK]
    return dict(zip(shown, SERIES, strict=False))
