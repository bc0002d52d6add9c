"""write_report: ``report.html``, one self-contained page about a run, readable offline.

The page contains the files of the run folder and a few frames of the worst mistakes.
"""

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.data.build import build_dataset
from tsn_tsm_plugin.data.collate import BadVideo
from tsn_tsm_plugin.data.image import encode_image
from tsn_tsm_plugin.data.samplers import SampleKey
from tsn_tsm_plugin.paths import read_bytes, read_text
from tsn_tsm_plugin.runs.metrics_log import read_metrics
from tsn_tsm_plugin.runs.results import shown_metrics
from tsn_tsm_plugin.runs.run_folder import RunFolder
from tsn_tsm_plugin.safe_text import html_text
from tsn_tsm_plugin.transforms.build import frames_of_view
from tsn_tsm_plugin.transforms.modality import to_picture

# Classes at each end of the table, largest number of frames of a clip, and height of a frame in pixels.
_NUM_CLASSES, _NUM_FRAMES, _FRAME_HEIGHT = 8, 16, 96
# Percentages of a class in the table.
_CLASS_NUMBERS = ("accuracy", "precision", "f1")

_STYLE = """
:root { --ink: #1d2733; --soft: #64707d; --line: #e3e7ec; --blue: #4878a8; --red: #d1603d; }
* { box-sizing: border-box }
body { margin: 0; background: #f4f6f8; color: var(--ink); font: 15px/1.5 system-ui, Roboto, sans-serif }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px }
h1 { font-size: 26px; margin: 0 }
h2 { font-size: 17px; margin: 0 0 12px }
.soft { color: var(--soft) }
.mono { font: 12.5px/1.5 ui-monospace, Menlo, Consolas, monospace }
section, .card { background: white; border: 1px solid var(--line); border-radius: 10px }
section { padding: 20px; margin-top: 18px }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 18px }
.card { flex: 1 1 130px; padding: 14px 16px }
.card b { display: block; font-size: 24px; font-weight: 650 }
img { max-width: 100%; display: block }
.centred { margin: 0 auto; max-height: 720px }
table { border-collapse: collapse; width: 100% }
td { padding: 3px 8px 3px 0; vertical-align: middle }
td.number, th.number { text-align: right; white-space: nowrap; width: 1% }
th { padding: 3px 8px 3px 0; font-weight: normal }
.bar { background: #edf0f3; border-radius: 4px; height: 10px; min-width: 120px }
.bar i { display: block; height: 10px; border-radius: 4px; background: var(--blue) }
.low i { background: var(--red) }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 28px }
.mistake { margin-top: 14px }
.frames { display: flex; flex-wrap: wrap; gap: 3px; margin-top: 4px }
.frames img { height: 96px; border-radius: 4px }
.wrong { color: var(--red) }
details { margin-top: 8px }
summary { cursor: pointer }
pre { overflow-x: auto; margin: 8px 0 0; white-space: pre-wrap }
"""


def write_report(cfg: CfgNode, folder: RunFolder) -> None:
    """Write ``report.html`` from the results, metrics and plots of a run folder.

    Args:
        cfg: The recipe; frames of the mistakes are read from its test split.
        folder: Run folder with ``results.json``; other missing files are skipped.
    """
    results = json.loads(read_text(folder.results))
    records = read_metrics(folder.metrics)
    sections = [
        _cards(results, records),
        _picture("Training", folder.plots / "curves.png"),
        _classes(results),
        _picture("Confusion matrix", folder.plots / "confusion_matrix.png", kind="centred"),
        _picture("Calibration", folder.plots / "calibration.png", kind="centred"),
        _mistakes(cfg, results),
        _details(results, records, folder),
    ]
    title = html_text(f"{cfg.MODEL.ARCH.upper()} {cfg.MODEL.BACKBONE}, {folder.path.name}")
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>{title}</h1>"
        f'<div class="soft">{html_text(results["model"])}</div>{"".join(sections)}</main></body></html>\n'
    )
    folder.write_text(folder.report, page)


def _section(title: str, body: str) -> str:
    return f"<section><h2>{html_text(title)}</h2>{body}</section>" if body else ""


def _cards(results: dict[str, Any], records: list[dict[str, Any]]) -> str:
    cards = [(title, f"{results[name]:.1f} %") for name, title in shown_metrics(results).items()]
    cards.append(("videos tested", f"{results['num_videos']:,}"))
    if results["num_bad_videos"]:
        cards.append(("unreadable", str(results["num_bad_videos"])))
    seconds = sum(record.get("epoch/seconds", 0.0) for record in records)
    if seconds:
        cards.append(("training", str(timedelta(seconds=round(seconds)))))
    cells = "".join(
        f'<div class="card"><b>{value}</b><span class="soft">{name}</span></div>' for name, value in cards
    )
    return f'<div class="cards">{cells}</div>'


def _picture(title: str, path: Path, *, kind: str = "") -> str:
    if not path.is_file():
        return ""
    return _section(title, f'<img class="{kind}" alt="{title}" src="{_data_url(read_bytes(path), "png")}">')


def _data_url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _classes(results: dict[str, Any]) -> str:
    known = [c for c in results["classes"] if c["accuracy"] is not None]
    ordered = sorted(known, key=lambda c: (-c["accuracy"], c["name"]))
    if len(ordered) <= 2 * _NUM_CLASSES:
        return _section("Classes", _class_table(ordered))
    best, worst = ordered[:_NUM_CLASSES], ordered[-_NUM_CLASSES:][::-1]
    both = (
        f"<div><div class='soft'>best</div>{_class_table(best)}</div>"
        f"<div><div class='soft'>worst</div>{_class_table(worst)}</div>"
    )
    return _section(f"Best and worst of {len(ordered)} classes", f'<div class="columns">{both}</div>')


def _class_table(classes: list[dict[str, Any]]) -> str:
    has_f1 = bool(classes) and "f1" in classes[0]
    titles = ("recall", "precision", "F1", "videos") if has_f1 else ("accuracy", "videos")
    head = "<th></th><th></th>" + "".join(f"<th class='number soft'>{title}</th>" for title in titles)
    rows = (
        f"<tr><td>{html_text(c['name'])}</td><td><div class='bar{' low' if c['accuracy'] < 50 else ''}'>"
        f"<i style='width:{c['accuracy']:.1f}%'></i></div></td>"
        + "".join(f"<td class='number'>{_percent(c[key])}</td>" for key in _CLASS_NUMBERS if key in c)
        + f"<td class='number soft'>{c['num_videos']}</td></tr>"
        for c in classes
    )
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _percent(number: float | None) -> str:
    return "-" if number is None else f"{number:.1f} %"


def _mistakes(cfg: CfgNode, results: dict[str, Any]) -> str:
    if not results.get("worst_mistakes"):
        return ""
    dataset = build_dataset(cfg, "test")
    num_frames = frames_of_view(cfg, "test")
    parts = []
    for mistake in results["worst_mistakes"]:
        clip = dataset[SampleKey(0, mistake["video_index"])]
        if isinstance(clip, BadVideo):
            continue
        frames = "".join(f'<img alt="" src="{url}">' for url in _frames(clip["video"][:, :num_frames]))
        said, is_really = html_text(mistake["prediction"]), html_text(mistake["label"])
        parts.append(
            f'<div class="mistake"><span class="wrong">{said}</span> {mistake["prediction_percent"]:.0f} %, '
            f"is <b>{is_really}</b> {mistake['label_percent']:.0f} % "
            f'<span class="soft mono">{html_text(mistake["video_name"])}</span>'
            f'<div class="frames">{frames}</div></div>'
        )
    return _section("Worst clips: the surest mistakes", "".join(parts))


def _frames(video: Tensor) -> list[str]:
    """Return a few frames of (C, T, H, W) uint8 as JPEG images for a page."""
    count = min(_NUM_FRAMES, video.shape[1])
    picked = torch.linspace(0, video.shape[1] - 1, count).round().long()
    urls = []
    for frame in to_picture(video)[:, picked].permute(1, 2, 3, 0).contiguous():
        image = Image.fromarray(frame.numpy())
        width = max(1, round(image.width * _FRAME_HEIGHT / image.height))
        small = image.resize((width, _FRAME_HEIGHT), Image.Resampling.BICUBIC)
        urls.append(_data_url(encode_image(small, ".jpg", quality=85), "jpeg"))
    return urls


def _details(results: dict[str, Any], records: list[dict[str, Any]], folder: RunFolder) -> str:
    trained = sum(r.get("epoch/seconds", 0.0) for r in records)
    waited = sum(r.get("epoch/data_seconds", 0.0) for r in records)
    share = f" ({100 * waited / trained:.0f} % of it waiting for data)" if trained else ""
    time_spent = (
        f"<p>Training {timedelta(seconds=round(trained))}{share}; final test {results['seconds']:.1f} s for "
        f"{results['num_videos']} videos (views per video: {results['views_per_video']}, averaged as "
        f"{results['view_average']}), {results['clips_per_second']:.1f} clips/s.</p>"
        f"<p>Weights tested: {html_text(results['weights'])}<br>"
        f'<span class="mono">{results["weights_hash"]}</span></p>'
    )
    files = ""
    for name, path in (("Recipe", folder.config), ("Environment", folder.environment)):
        if path.is_file():
            text = "\n".join(map(html_text, read_text(path).splitlines()))
            files += f'<details><summary>{name}</summary><pre class="mono">{text}</pre></details>'
    return _section("Time, recipe and environment", time_spent + files)
