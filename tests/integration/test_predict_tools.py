"""The commands that use a trained network, from their arguments to what they print and write."""

import importlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import types
import urllib.request

import numpy as np
import pytest
from PIL import Image, ImageGrab
from support.frame_folders import write_frame_folder
from support.small_files import files_no_larger_than
from support.trained import CLASS_NAMES, write_checkpoint
from support.videos import numbered_frames, sequential_frames, write_video

from tsn_tsm_plugin import VideoReader, segment_indices
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.inference.live_views import LiveWindow
from tsn_tsm_plugin.inference.stream_classifier import LiveClassifier
from tsn_tsm_plugin.inference.trained_model import load_trained
from tsn_tsm_plugin.inference.video_predictor import VideoPredictor
from tsn_tsm_plugin.tools import predict, stream
from tsn_tsm_plugin.transforms import CenterCrop, ShortSideScale


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    write_checkpoint(folder / "offline.pt")
    write_checkpoint(folder / "online.pt", causal=True)
    (folder / "clips").mkdir()
    for name in ("a", "b"):
        write_video(folder / "clips" / f"{name}.mp4", 30, fps=10)
    return folder


def test_predict_prints_the_classes_of_every_video_without_a_config(folder, capsys):
    assert (
        predict.main(["--weights", str(folder / "offline.pt"), str(folder / "clips"), "--format", "json"])
        == 0
    )
    rows = json.loads(capsys.readouterr().out)
    assert [row["video"].rpartition("/")[2] for row in rows] == ["a.mp4", "b.mp4"]
    assert {each["class"] for each in rows[0]["top"]} == set(CLASS_NAMES)


@pytest.fixture(scope="module")
def frames(folder):
    """A folder of two folders of frames: PNG images with the pixels of a.mp4, and another video."""
    with VideoReader(str(folder / "clips" / "a.mp4")) as reader:
        video_TCHW = reader.read(range(reader.num_frames))
    (folder / "frames" / "a").mkdir(parents=True)
    for number, frame_CHW in enumerate(video_TCHW):
        Image.fromarray(frame_CHW.permute(1, 2, 0).numpy()).save(folder / "frames" / "a" / f"{number:03}.png")
    write_frame_folder(folder / "frames" / "b", 9)
    return folder / "frames"


def predicted(capsys, *arguments) -> dict[str, list]:
    assert predict.main([*map(str, arguments), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    return {row["video"].rpartition("/")[2]: row["top"] for row in rows}


def test_what_is_no_readable_video_in_a_folder_is_named_and_the_others_are_predicted(
    folder, tmp_path, capsys
):
    good = folder / "clips" / "a.mp4"
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    shutil.copy(good, os.fsdecode(bytes(tmp_path) + b"/b\xffd.mp4"))
    for name in ("new\nline.mp4", "\x1b[2J.mp4", "=1+1.mp4"):
        shutil.copy(good, tmp_path / name)
    reasons = ["not valid UTF-8", "is a link to", "Too many levels", "a named pipe"]

    for words in ([tmp_path], sorted(tmp_path.iterdir())):
        argv = ["--weights", folder / "offline.pt", "--format", "json", *words]
        assert predict.main(list(map(str, argv))) == 1
        rows = json.loads(capsys.readouterr().out)
        assert len([row for row in rows if "top" in row]) == 3
        errors = [row["error"] for row in rows if "error" in row]
        assert len(errors) == len(reasons)
        assert all(any(reason in error for error in errors) for reason in reasons)


def test_a_folder_of_frames_is_predicted_as_its_video(folder, frames, capsys):
    weights = ["--weights", folder / "offline.pt"]
    of_file = predicted(capsys, *weights, folder / "clips" / "a.mp4")["a.mp4"]
    assert predicted(capsys, *weights, frames / "a") == {"a": of_file}
    assert list(predicted(capsys, *weights, frames)) == ["a", "b"]
    assert predicted(capsys, *weights, f"{frames}/[a]*")["a"] == of_file


def test_a_folder_of_frames_is_annotated_and_gives_features(folder, frames, tmp_path):
    arguments = ["--weights", str(folder / "offline.pt"), "--window", "1"]
    outputs = ["--features", str(tmp_path / "f.npy"), "--annotate", str(tmp_path / "o.mp4")]
    assert predict.main([*arguments, str(frames / "a"), *outputs]) == 0
    of_frames = np.load(tmp_path / "f.npy")
    with VideoReader(str(tmp_path / "o.mp4")) as reader:
        assert reader.num_frames == 30
    assert of_frames.shape[1] == 512


def test_stream_scores_every_frame_of_a_folder_and_skips_a_damaged_one(folder, frames, tmp_path, capsys):
    shutil.copytree(frames / "b", tmp_path / "b")
    (tmp_path / "b" / "img_00004.jpg").write_bytes(b"no image")
    assert (
        stream.main(["--weights", str(folder / "online.pt"), "--source", str(tmp_path / "b"), "--json"]) == 0
    )
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["frame"] for row in rows if "top" in row] == list(range(8))
    assert any("frame 3: corrupt, skipped" in row.get("event", "") for row in rows)


def test_a_flow_network_reads_folders_of_flow_and_no_stream(tmp_path, capsys):
    flow = ["DATA.MODALITY", "flow", "DATA.FORMAT", "frames", "DATA.FRAME_TEMPLATE", "{}/{:03}.png"]
    weights = ["--weights", str(write_checkpoint(tmp_path / "flow.pt", *flow))]
    for axis in "xy":
        write_frame_folder(tmp_path / "fields" / "a" / axis, 12, template="{:03}.png")
    assert list(predicted(capsys, *weights, tmp_path / "fields")) == ["a"]
    assert stream.main([*weights, "--source", str(tmp_path / "fields" / "a")]) == 2
    assert "Classifying a stream needs a network of RGB frames" in capsys.readouterr().err


def test_predict_goes_on_after_a_video_that_cannot_be_read_and_reports_it_in_its_exit_code(
    folder, tmp_path, capsys
):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    videos = [str(tmp_path / "broken.mp4"), str(folder / "clips" / "a.mp4")]
    assert predict.main(["--weights", str(folder / "offline.pt"), *videos]) == 1
    printed = capsys.readouterr().out
    assert "unreadable" in printed and "a.mp4" in printed


def test_predict_writes_pictures_features_and_an_annotated_video(folder, tmp_path):
    options = ["--annotate", str(tmp_path / "a.mp4"), "--grad-cam", str(tmp_path / "a.png")]
    options += ["--features", str(tmp_path / "a.npy"), "--window", "1", "--stride", "0.5"]
    assert (
        predict.main(["--weights", str(folder / "offline.pt"), str(folder / "clips" / "a.mp4"), *options])
        == 0
    )
    assert len(sequential_frames(tmp_path / "a.mp4")) == 30
    assert np.load(tmp_path / "a.npy").shape == (5, 512)
    assert Image.open(tmp_path / "a.png").size[0] > 480


def offline(folder, *options: str) -> list[str]:
    return ["--weights", str(folder / "offline.pt"), str(folder / "clips" / "a.mp4"), *options]


def old_files(folder) -> dict[str, bytes]:
    """Write files that a command is asked to write anew, and return what they hold."""
    for name in ("keep.mp4", "keep.npy"):
        (folder / name).write_bytes(b"old")
    (folder / "keep.json").write_text('{"file": "keep.npy"}')
    return contents(folder)


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("option", "function"),
    [
        ("--annotate", "tsn_tsm_plugin.visualization.score_overlay.ScoreOverlay.draw"),
        ("--features", "tsn_tsm_plugin.inference.trained_model.TrainedModel.probabilities"),
    ],
)
def test_ctrl_c_leaves_the_old_files_and_no_half_ones(
    folder, tmp_path, monkeypatch, capsys, option, function
):
    def interrupted_the_third_time(*args, **options):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return work(*args, **options)

    calls: list[tuple] = []
    module, name, method = function.rsplit(".", 2)
    work = getattr(getattr(importlib.import_module(module), name), method)
    monkeypatch.setattr(function, interrupted_the_third_time)
    old = old_files(tmp_path)
    out = tmp_path / ("keep.mp4" if option == "--annotate" else "keep.npy")
    assert predict.main(offline(folder, option, str(out), "--window", "1")) == 130
    assert len(calls) == 3 and contents(tmp_path) == old
    assert capsys.readouterr().err.splitlines()[-1] == "Interrupted."


@pytest.mark.parametrize("option", ["--annotate", "--features"])
def test_a_full_disk_leaves_the_old_files_and_is_reported_in_one_line(folder, tmp_path, capsys, option):
    old = old_files(tmp_path)
    out = tmp_path / ("keep.mp4" if option == "--annotate" else "keep.npy")
    with files_no_larger_than(4_000):
        assert predict.main(offline(folder, option, str(out), "--window", "1")) == 2
    assert contents(tmp_path) == old
    assert f"error: {out} could not be written: File too large" in capsys.readouterr().err.splitlines()[-1]


def test_the_description_of_the_features_names_its_file_and_replaces_no_other(folder, tmp_path):
    (tmp_path / "a.json").write_text("[]")
    assert predict.main(offline(folder, "--features", str(tmp_path / "a.npy"), "--window", "1")) == 0
    described = json.loads((tmp_path / "a.npy.json").read_text())
    assert described["file"] == "a.npy" and described["fps"] == 10
    assert len(described["windows"]) == len(np.load(tmp_path / "a.npy")) == 5
    assert (tmp_path / "a.json").read_text() == "[]"


def test_predict_names_the_files_of_several_videos_after_them(folder, tmp_path):
    options = ["--grad-cam", str(tmp_path / "seen.png")]
    assert predict.main(["--weights", str(folder / "offline.pt"), str(folder / "clips"), *options]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.seen.png", "b.seen.png"]


def test_videos_of_one_name_in_two_folders_get_files_of_their_own(folder, tmp_path):
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").write_bytes((folder / "clips" / "a.mp4").read_bytes())
    out = tmp_path / "new" / "seen.png"
    assert predict.main(["--weights", str(folder / "offline.pt"), str(tmp_path), "--grad-cam", str(out)]) == 0
    assert sorted(path.name for path in out.parent.iterdir()) == ["a-2.seen.png", "a.seen.png"]


def test_a_number_that_is_given_is_one_that_no_video_has_by_name(folder, tmp_path):
    clip = (folder / "clips" / "a.mp4").read_bytes()
    for name in ("1/a", "2/a", "3/a-2"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.mp4").write_bytes(clip)
    out = tmp_path / "new" / "seen.png"
    assert predict.main(["--weights", str(folder / "offline.pt"), str(tmp_path), "--grad-cam", str(out)]) == 0
    names = ["a-2-2.seen.png", "a-2.seen.png", "a.seen.png"]
    assert sorted(path.name for path in out.parent.iterdir()) == names


def test_what_was_predicted_before_ctrl_c_is_printed(folder, capsys, monkeypatch):
    call = VideoPredictor.__call__

    def interrupted(self, path):
        if path.endswith("b.mp4"):
            raise KeyboardInterrupt
        return call(self, path)

    monkeypatch.setattr(VideoPredictor, "__call__", interrupted)
    command = ["--weights", str(folder / "offline.pt"), str(folder / "clips"), "--format", "json"]
    assert predict.main(command) == 130
    assert [row["video"].rpartition("/")[2] for row in json.loads(capsys.readouterr().out)] == ["a.mp4"]


def test_predict_ends_quietly_if_nobody_reads_what_it_prints(folder):
    command = [sys.executable, "-m", "tsn_tsm_plugin.tools.predict", "--weights", str(folder / "offline.pt")]
    with subprocess.Popen(
        [*command, str(folder / "clips")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(60) == 128 + signal.SIGPIPE, said
    assert "Error" not in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top", "0"], "argument --top: must be a whole number of at least 1, got 0"),
        (["--top", "many"], "argument --top: must be a whole number of at least 1, got many"),
        (["--stride", "inf"], "argument --stride: must be a number of seconds above 0, got inf"),
        (["--stride", "0"], "argument --stride: must be a number of seconds above 0, got 0"),
        (["--window", "nan"], "argument --window: must be a number of seconds of at least 0, got nan"),
        (["--window", "-1"], "argument --window: must be a number of seconds of at least 0, got -1"),
    ],
)
def test_numbers_out_of_range_are_refused_by_option(capsys, options, message):
    with pytest.raises(SystemExit, match="2"):
        predict.main(["--weights", "w.pt", "clips", *options])
    assert message in capsys.readouterr().err


def test_no_output_replaces_an_input(folder, tmp_path, capsys):
    video = tmp_path / "mine.mp4"
    video.write_bytes((folder / "clips" / "a.mp4").read_bytes())
    before = video.read_bytes()
    (tmp_path / "other").symlink_to(tmp_path)
    command = ["--weights", str(folder / "offline.pt"), str(video)]
    assert predict.main([*command, "--annotate", str(tmp_path / "other" / "mine.mp4")]) == 2
    assert "is the input" in capsys.readouterr().err
    assert video.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--grad-cam", "seen.foo"], "--grad-cam must be an image such as OUT.png, got seen.foo"),
        (["--features", "features.json"], "--features must be a file OUT.npy, got features.json"),
        (["--annotate", "/dev/null/out.mp4"], "/dev/null: the folder cannot be created"),
        (["--annotate", "out.webm"], "out.webm"),
        (["--annotate", "out.txt"], "out.txt"),
        (["--device", "meta"], "--device must be available"),
        (
            ["--device", "cuda:77"],
            "--device must be available, such as cpu, cuda or cuda:1, got cuda:77",
        ),
        (["--device", "abacus"], "got abacus: Expected one of cpu, cuda"),
    ],
)
def test_predict_refuses_what_it_could_not_write_or_use_before_it_works(folder, capsys, options, message):
    assert predict.main(["--weights", str(folder / "offline.pt"), str(folder / "clips"), *options]) == 2
    said = capsys.readouterr()
    assert message in said.err and not said.out


def test_several_labels_have_probabilities_of_their_own(folder, tmp_path, capsys):
    weights = write_checkpoint(tmp_path / "labels.pt", "DATA.MULTI_LABEL", "True")
    command = ["--weights", str(weights), str(folder / "clips" / "a.mp4"), "--format", "json"]
    assert predict.main(command) == 0
    [row] = json.loads(capsys.readouterr().out)
    trained = load_trained(weights)
    with VideoReader(folder / "clips" / "a.mp4") as reader:
        clip = reader.read(segment_indices(30, 4, mode="test")).transpose(0, 1)
    clip = trained.preprocessing.normalize(CenterCrop(32)(ShortSideScale(36)(clip))[None])
    expected = sorted(trained.model(clip)[0].sigmoid().tolist(), reverse=True)
    assert [each["probability"] for each in row["top"]] == pytest.approx(expected, abs=1e-5)


def test_predict_names_what_is_missing(folder, capsys):
    assert predict.main(["--weights", str(folder / "none.pt"), str(folder / "clips")]) == 2
    assert "none.pt does not exist" in capsys.readouterr().err
    assert predict.main(["--weights", str(folder / "offline.pt"), "nothing/*.mp4"]) == 2
    assert "nothing/*.mp4: no video there" in capsys.readouterr().err


def test_stream_prints_a_json_line_per_frame_and_what_happened(folder, capsys):
    source = str(folder / "clips" / "a.mp4")
    assert stream.main(["--weights", str(folder / "online.pt"), "--source", source, "--json"]) == 0
    *rows, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["frame"] for row in rows] == list(range(30))
    assert rows[10]["seconds"] == pytest.approx(1.0) and rows[0]["class"] in CLASS_NAMES
    assert "30 frames scored" in last["event"]


def test_stream_reads_standard_input_and_survives_a_change_of_size_and_an_early_end(
    folder, tmp_path, capsys, monkeypatch
):
    parts = [
        write_video(
            tmp_path / f"{h}.h264", numbered_frames(6, height=h), container="h264", b_frames=0
        ).read_bytes()
        for h in (48, 64)
    ]
    content = parts[0] + parts[1][:-50]
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(content)))
    out = tmp_path / "out.mp4"
    options = ["--source", "-", "--annotate", str(out), "--print-interval", "0"]
    assert stream.main(["--weights", str(folder / "online.pt"), *options]) == 0
    printed = capsys.readouterr()
    assert "the size changed from 64 x 48 to 64 x 64 pixels" in printed.err
    assert "frames scored" in printed.err
    assert len(printed.out.splitlines()) == len(sequential_frames(out)) >= 10
    # Raw H.264 has no times.
    assert printed.out.startswith("frame    0 ")


def start_stream(folder, *options, **pipes):
    command = [sys.executable, "-m", "tsn_tsm_plugin.tools.stream", "--weights", str(folder / "online.pt")]
    return subprocess.Popen([*command, *options], text=False, **pipes)


def test_a_pipe_that_stays_silent_is_given_up_and_the_program_ends_in_order(folder, tmp_path):
    content = write_video(tmp_path / "a.ts", 30, fps=10, container="mpegts").read_bytes()
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with start_stream(folder, "--source", "-", "--timeout", "1.5", **pipes) as process:
        process.stdin.write(content)
        process.stdin.flush()  # And open it stays.
        said = process.stderr.read().decode()
        assert process.wait(60) == 1, said
    assert "no frame for 1.5 s: stopped" in said
    assert said.splitlines()[-1].startswith("stream: ended; "), said


def test_a_reader_of_the_results_may_leave(folder, tmp_path):
    video = write_video(tmp_path / "a.mp4", 300, fps=10)
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    with start_stream(folder, "--source", str(video), "--json", **pipes) as process:
        first = json.loads(process.stdout.readline())
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait(60) == 0, said
    assert first["frame"] == 0
    assert "Error" not in said


def test_stream_runs_a_network_of_whole_clips_on_a_sliding_window(folder, capsys):
    source = str(folder / "clips" / "a.mp4")
    options = ["--weights", str(folder / "offline.pt"), "--source", source, "--json", "--window", "1.2"]
    assert stream.main(options) == 0
    *rows, _ = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["frame"] for row in rows] == list(range(0, 30, 3))


def test_stream_serves_a_page_with_the_live_picture_and_scores(folder, tmp_path):
    pipe = subprocess.PIPE
    video = write_video(tmp_path / "live.ts", 100, fps=10)
    command = [sys.executable, "-m", "tsn_tsm_plugin.tools.stream", "--weights", str(folder / "online.pt")]
    with subprocess.Popen([*command, "--source", "-", "--serve", "0"], stdin=pipe, stderr=pipe) as process:
        try:
            process.stdin.write(video.read_bytes())
            process.stdin.flush()
            lines = iter(process.stderr.readline, b"")
            url = next(line.decode().split()[-1] for line in lines if b"live at http://127.0.0.1:" in line)
            page = urllib.request.urlopen(url, timeout=10).read().decode()
            assert 'src="/stream.mjpg"' in page
            with urllib.request.urlopen(f"{url}stream.mjpg", timeout=30) as pictures:
                assert pictures.headers["Content-Type"].startswith("multipart/x-mixed-replace")
                head = b"".join(pictures.readline() for _ in range(4))
                length = int(re.search(rb"Content-Length: (\d+)", head)[1])
                assert Image.open(io.BytesIO(pictures.read(length))).width >= 64
            scores = json.loads(urllib.request.urlopen(f"{url}scores.json", timeout=10).read())
            assert {each["class"] for each in scores["top"]} == set(CLASS_NAMES)
        finally:
            process.kill()


@pytest.mark.parametrize("address", ["x", "70000", "host:"])
def test_stream_refuses_an_address_that_is_none(capsys, address):
    with pytest.raises(SystemExit, match="2"):
        stream.main(["--weights", "w.pt", "--source", "0", "--serve", address])
    assert "must be PORT or HOST:PORT" in capsys.readouterr().err


def test_stream_names_a_port_that_is_taken(folder, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        source = str(folder / "clips" / "a.mp4")
        options = ["--weights", str(folder / "online.pt"), "--source", source, "--serve", port]
        assert stream.main(options) == 2
    assert f"127.0.0.1:{port} cannot serve the page" in capsys.readouterr().err


def test_stream_cannot_show_a_window_without_a_display(folder, capsys, monkeypatch):
    pytest.importorskip("tkinter")
    monkeypatch.delenv("DISPLAY", raising=False)
    source = str(folder / "clips" / "a.mp4")
    assert stream.main(["--weights", str(folder / "online.pt"), "--source", source, "--show"]) == 2
    assert "--show needs a display" in capsys.readouterr().err


@pytest.fixture
def display(monkeypatch):
    """Name of an X server without a screen."""
    pytest.importorskip("tkinter")
    if not shutil.which("Xvfb"):
        pytest.skip("Xvfb is missing: apt install xvfb")
    with subprocess.Popen(["Xvfb", "-displayfd", "1"], stdout=subprocess.PIPE, text=True) as server:
        name = f":{server.stdout.readline().strip()}"
        monkeypatch.setenv("DISPLAY", name)
        yield name
        server.terminate()


@pytest.mark.extras
def test_stream_shows_its_picture_in_a_window(folder, display, monkeypatch):
    is_on_screen = []
    write = LiveWindow.write

    def write_and_look(window, picture, scores):
        write(window, picture, scores)
        screen = np.asarray(ImageGrab.grab(xdisplay=display))
        is_on_screen.append(np.array_equal(screen[: len(picture), : picture.shape[1]], picture))

    monkeypatch.setattr(LiveWindow, "write", write_and_look)
    source = str(folder / "clips" / "a.mp4")
    assert stream.main(["--weights", str(folder / "online.pt"), "--source", source, "--show"]) == 0
    assert any(is_on_screen)


def test_stream_names_a_camera_that_is_not_there(folder, capsys):
    assert stream.main(["--weights", str(folder / "online.pt"), "--source", "97"]) == 2
    assert "camera 97: " in capsys.readouterr().err


def test_stream_without_a_standard_input_ends_at_once_with_one_line(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert stream.main(["--weights", str(folder / "online.pt"), "--source", "-"]) == 2
    said = capsys.readouterr()
    assert said.err == "error: -: standard input is closed. Send a video, e.g. ffmpeg -i ... -f mpegts -.\n"
    assert not said.out


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("--frame-interval", "0", "a whole number of at least 1"),
        ("--min-consecutive", "-1", "a whole number of at least 1"),
        ("--average-frames", "1.5", "a whole number of at least 1"),
        ("--top", "-1", "a whole number of at least 1"),
        ("--top", "0", "a whole number of at least 1"),
        ("--print-interval", "-1", "a number of seconds of at least 0"),
        ("--print-interval", "nan", "a number of seconds of at least 0"),
        ("--timeout", "0", "a number of seconds above 0"),
        ("--timeout", "inf", "a number of seconds above 0"),
    ],
)
def test_stream_refuses_numbers_that_mean_nothing(capsys, option, value, rule):
    with pytest.raises(SystemExit, match="2"):
        stream.main(["--weights", "w.pt", "--source", "0", option, value])
    assert f"argument {option}: must be {rule}, got {value}" in capsys.readouterr().err


def test_stream_writes_no_video_over_its_source(folder, tmp_path, capsys):
    video = write_video(tmp_path / "self.mp4", 9)
    content = video.read_bytes()
    for source in (str(video), f"file:{video}"):
        command = ["--weights", "zoo:tsm/k400_r50_8f", "--source", source, "--annotate", str(video)]
        assert stream.main(command) == 2
        assert f"error: {video} is the input: give another name." in capsys.readouterr().err
    assert video.read_bytes() == content


def test_stream_refuses_a_video_of_another_kind_before_it_works(capsys):
    assert stream.main(["--weights", "zoo:tsm/k400_r50_8f", "--source", "0", "--annotate", "a.webm"]) == 2
    assert "a.webm: the video is written as H.264" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 0), (VideoError("broken"), 2)])
def test_ctrl_c_ends_the_annotated_video_and_an_error_leaves_the_old_one(
    folder, tmp_path, monkeypatch, error, code
):
    def end_at_the_third(self, frame):
        if frame.index == 2:
            raise error
        return classify(self, frame)

    classify = LiveClassifier.__call__
    monkeypatch.setattr(LiveClassifier, "__call__", end_at_the_third)
    out = tmp_path / "keep.mp4"
    out.write_bytes(b"old")
    source = str(folder / "clips" / "a.mp4")
    command = ["--weights", str(folder / "online.pt"), "--source", source, "--annotate", str(out)]
    assert stream.main(command) == code
    assert [path.name for path in tmp_path.iterdir()] == ["keep.mp4"]
    if code:
        assert out.read_bytes() == b"old"
    else:
        assert len(sequential_frames(out)) == 2


def test_a_folder_is_no_name_of_an_output(folder, tmp_path, capsys):
    (tmp_path / "dir.npy").mkdir()
    command = ["--weights", str(folder / "offline.pt"), str(folder / "clips")]
    assert predict.main([*command, "--features", str(tmp_path / "dir.npy")]) == 2
    assert "dir.npy is a folder: give the name of a file to write" in capsys.readouterr().err
