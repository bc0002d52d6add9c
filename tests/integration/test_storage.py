"""Weights, videos and recipes behind URLs, and the Hugging Face hub."""

import functools
import http.server
import importlib.metadata
import json
import threading
from pathlib import Path

import fsspec
import pytest
from iopath.common.file_io import PathHandler
from support.hub_double import hub_double
from support.trained import CLASS_NAMES, write_checkpoint
from support.videos import write_video

from tsn_tsm_plugin import load_cfg, load_trained, storage
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.tools import predict, publish


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder with weights and a video, and its address."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("IOPATH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "served"
    folder.mkdir()
    write_checkpoint(folder / "w.pt")
    write_video(folder / "v.mp4", 12)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_predict_takes_weights_and_videos_by_url(served, capsys):
    folder, url = served

    assert predict.main(["--weights", f"{url}/w.pt", f"{url}/v.mp4", "--format", "json"]) == 0
    (by_url,) = json.loads(capsys.readouterr().out)
    assert predict.main(["--weights", str(folder / "w.pt"), str(folder / "v.mp4"), "--format", "json"]) == 0
    (by_path,) = json.loads(capsys.readouterr().out)

    assert by_url["video"] == f"{url}/v.mp4"
    assert by_url["top"] == by_path["top"]


def test_an_address_without_a_file_is_one_line(served, capsys):
    folder, url = served

    assert predict.main(["--weights", f"{url}/none.pt", str(folder / "v.mp4")]) == 2
    error = capsys.readouterr().err
    assert "/none.pt cannot be fetched" in error and "Traceback" not in error


def test_a_recipe_is_read_by_url(served):
    folder, url = served

    assert load_cfg(f"{url}/w.yaml").MODEL.BACKBONE == "resnet18"


def test_files_of_one_name_at_two_addresses_are_two_files(served):
    folder, url = served
    (folder / "a").mkdir()
    for name in ("a/f.txt", "f.txt"):
        (folder / name).write_text(name)
    other = url.replace("127.0.0.1", "localhost")

    read = [
        Path(storage.manager_of(path).get_local_path(path)).read_text()
        for path in (f"{url}/f.txt", f"{other}/a/f.txt", f"{url}/f.txt?version=2")
    ]
    assert read == ["f.txt", "a/f.txt", "f.txt"]
    paths = {storage.manager_of(p).get_local_path(p) for p in (f"{url}/f.txt", f"{other}/f.txt")}
    assert len(paths) == 2


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def test_any_file_system_of_fsspec_serves_weights_and_takes_shared_ones(served, memory, capsys):
    folder, _ = served

    assert publish.main(["--weights", str(folder / "w.pt"), "--out", "memory://bucket/model"]) == 0
    assert memory.exists("/bucket/model/README.md")
    trained = load_trained("memory://bucket/model/model.safetensors")

    assert trained.class_names == CLASS_NAMES


def test_a_file_system_whose_package_is_missing_names_it(monkeypatch):
    import fsspec.core

    def missing(path):
        raise ImportError("Please install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(CheckpointError, match="pip install s3fs"):
        load_trained("s3://bucket/w.pt")


def test_shared_weights_go_to_the_hub_and_are_loaded_from_it(served, tmp_path, monkeypatch):
    folder, _ = served
    with hub_double() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

        assert publish.main(["--weights", str(folder / "w.pt"), "--out", "hf://me/gestures"]) == 0
        assert set(hub.repos["me/gestures"]) == {"README.md", "model.safetensors"}
        assert hub.repos["me/gestures"]["README.md"].startswith(b"---\nlibrary_name: tsn_tsm_plugin\n")
        assert hub.created[0].get("private", hub.created[0].get("visibility")) in (True, "private")

        whole = load_trained("hf://me/gestures")
        one = load_trained("hf://me/gestures/model.safetensors")
        assert whole.class_names == one.class_names == CLASS_NAMES
        assert (
            whole.predict(folder / "v.mp4").top()
            == load_trained(folder / "w.pt").predict(folder / "v.mp4").top()
        )
        with pytest.raises(CheckpointError, match="hf://me/none cannot be fetched"):
            load_trained("hf://me/none")


@pytest.mark.parametrize("path", ["hf://gestures", "hf://"])
def test_a_path_on_the_hub_has_a_user_and_a_name(path):
    with pytest.raises(CheckpointError, match="must be hf://USER/NAME"):
        load_trained(path)


def test_a_package_brings_a_handler_of_its_own_by_entry_point(served, monkeypatch):
    folder, _ = served

    class Vault(PathHandler):
        def _get_supported_prefixes(self):
            return ["vault://"]

        def _get_local_path(self, path, force=False, **_):
            return str(folder / path.removeprefix("vault://"))

    class Point(importlib.metadata.EntryPoint):
        def load(self):
            return Vault

    point = Point("vault", "vault:Vault", storage.HANDLERS_GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [point])
    storage._manager.cache_clear()
    try:
        assert load_trained("vault://w.pt").class_names == CLASS_NAMES
    finally:
        storage._manager.cache_clear()
