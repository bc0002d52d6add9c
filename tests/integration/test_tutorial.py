"""Each command of the tutorial works on small clips, in its order, with shorter training."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
from support.videos import numbered_frames, write_video

from tsn_tsm_plugin.config.defaults import KEYS

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
PAGE = (PROJECTS / "tutorial.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines() if line
]
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SMALL = [
    "SOLVER.MAX_EPOCH=1", "DATA.TRAIN_SHORT_SIDE=32", "DATA.TRAIN_CROP_SIZE=32", "DATA.TEST_SHORT_SIDE=32",
    "DATA.TEST_CROP_SIZE=32", "DATA_LOADER.NUM_WORKERS=0", "TENSORBOARD.ENABLE=False",
]  # fmt: skip
# No network; shorter training on smaller frames; shorter measurements.
FURTHER = {
    "train --data": ["--backbone-weights", "", *SMALL],
    "train --cfg": SMALL,
    "benchmark": ["--seconds", "0.05"],
}


def run(command: str) -> int:
    script, *words = shlex.split(command)
    tool = script.removeprefix("tsn-tsm-")
    further = next((more for start, more in FURTHER.items() if f"{tool} {words[0]}".startswith(start)), [])
    return importlib.import_module(f"tsn_tsm_plugin.tools.{tool.replace('-', '_')}").main([*words, *further])


def test_each_command_of_the_tutorial_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for stride, name in ((1, "wave"), (5, "point")):
        (tmp_path / "my_videos" / name).mkdir(parents=True)
        for index in range(5):
            frames = numbered_frames(stride * 9 + index + 1, height=36, width=48)
            numbers = [index + stride * t for t in range(10)]
            write_video(tmp_path / "my_videos" / name / f"clip_{index}.mp4", [frames[n] for n in numbers])

    assert len(COMMANDS) >= 8
    for command in COMMANDS:
        assert run(command) == 0, (command, capsys.readouterr().err[-2000:])
    for source in PYTHON:
        exec(compile(source, "tutorial.md", "exec"), {})
    assert "wave" in capsys.readouterr().out
    for file in ("batch.png", "model.pt2", "runs/tsm/my_videos_tsm_mobilenet_v2/report.html"):
        assert (tmp_path / file).is_file()


@pytest.mark.parametrize("page", ["tutorial.md", "troubleshooting.md"])
def test_keys_that_the_pages_name_exist(page):
    named = set(re.findall(r"`([A-Z_]+\.[A-Z_0-9]+)", (PROJECTS / page).read_text()))
    assert len(named) > 5
    assert named <= set(KEYS)
