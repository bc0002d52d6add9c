"""Each command of the tutorial and of the page on fine-tuning works on small clips, with shorter training."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import torch
from support.videos import numbered_frames, write_video

from tsn_tsm_plugin import create_tsm
from tsn_tsm_plugin.config.defaults import KEYS

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
PUBLISHED = "zoo:tsm/k400_mobilenetv2_8f_dense"
SMALL = [
    "SOLVER.MAX_EPOCH=1", "DATA.NUM_FRAMES=2", "DATA.TRAIN_SHORT_SIDE=32", "DATA.TRAIN_CROP_SIZE=32",
    "DATA.TEST_SHORT_SIDE=32", "DATA.TEST_CROP_SIZE=32", "DATA_LOADER.NUM_WORKERS=0",
    "TENSORBOARD.ENABLE=False",
]  # fmt: skip
# No network; shorter training on smaller frames; shorter measurements.
FURTHER = {
    "train --data my_videos --backbone mobilenet_v2 --weights": SMALL,
    "train --data": ["--backbone-weights", "", *SMALL],
    "train --cfg": SMALL,
    "benchmark": ["--seconds", "0.05"],
}


def blocks_of(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (PROJECTS / page).read_text(), re.DOTALL)


def commands_of(page: str) -> list[str]:
    return [line for block in blocks_of(page, "bash") for line in block.splitlines() if line]


def run(command: str) -> int:
    script, *words = shlex.split(command)
    tool = script.removeprefix("tsn-tsm-")
    further = next(
        (more for start, more in FURTHER.items() if command.removeprefix("tsn-tsm-").startswith(start)), []
    )
    return importlib.import_module(f"tsn_tsm_plugin.tools.{tool.replace('-', '_')}").main([*words, *further])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for stride, name in ((1, "wave"), (5, "point")):
        (tmp_path / "my_videos" / name).mkdir(parents=True)
        for index in range(5):
            frames = numbered_frames(stride * 9 + index + 1, height=36, width=48)
            numbers = [index + stride * t for t in range(10)]
            write_video(tmp_path / "my_videos" / name / f"clip_{index}.mp4", [frames[n] for n in numbers])
    return tmp_path


def test_each_command_of_the_tutorial_works(folder, capsys):
    commands = commands_of("tutorial.md")
    assert len(commands) >= 8
    for command in commands:
        assert run(command) == 0, (command, capsys.readouterr().err[-2000:])
    for source in blocks_of("tutorial.md", "python"):
        exec(compile(source, "tutorial.md", "exec"), {})
    assert "wave" in capsys.readouterr().out
    for file in ("batch.png", "model.pt2", "runs/tsm/my_videos_tsm_mobilenet_v2/report.html"):
        assert (folder / file).is_file()


@pytest.mark.slow
def test_each_command_of_the_page_on_fine_tuning_works_without_imagenet_weights(folder, capsys, monkeypatch):
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda url, *_, **__: pytest.fail(url))
    network = create_tsm(backbone="mobilenet_v2", num_classes=400, num_segments=2)
    torch.save(network.state_dict(), "published.pth")
    commands = commands_of("finetuning.md")
    assert sum(PUBLISHED in command for command in commands) == 2
    for command in commands:
        assert run(command.replace(PUBLISHED, "published.pth")) == 0, capsys.readouterr().err[-2000:]
    assert "published.pth" in (folder / "runs/part/log.txt").read_text()


@pytest.mark.parametrize("page", ["tutorial.md", "finetuning.md", "troubleshooting.md"])
def test_keys_that_the_pages_name_exist(page):
    named = set(re.findall(r"`([A-Z_]+\.[A-Z_0-9]+)", (PROJECTS / page).read_text()))
    assert len(named) > 5
    assert named <= set(KEYS)
