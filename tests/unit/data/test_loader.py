"""From list files to batches, on small files of the motion dataset."""

import functools
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from support.bucket import serve_bucket
from support.frame_folders import write_frame_folder

from tsn_tsm_plugin.config import get_cfg
from tsn_tsm_plugin.data import build
from tsn_tsm_plugin.data.annotations import read_video_list
from tsn_tsm_plugin.data.build import build_dataset, build_loader, read_class_names
from tsn_tsm_plugin.data.motion.dataset import prepare_motion
from tsn_tsm_plugin.data.samplers import SampleKey
from tsn_tsm_plugin.data.video_dataset import VideoListDataset
from tsn_tsm_plugin.errors import AnnotationError, ConfigError

NUM_TRAIN, NUM_VAL = 12, 7


@pytest.fixture(scope="module")
def motion(tmp_path_factory):
    return prepare_motion(tmp_path_factory.mktemp("loader") / "motion", num_train=NUM_TRAIN, num_val=NUM_VAL)


@pytest.fixture
def cfg(motion):
    cfg = get_cfg()
    cfg.MODEL.NUM_CLASSES = 8
    cfg.DATA.PATH_TO_DATA_DIR = str(motion)
    cfg.DATA.LABEL_MAP = "labels.txt"
    cfg.DATA.NUM_FRAMES = 4
    cfg.DATA.TRAIN_SHORT_SIDE = cfg.DATA.TEST_SHORT_SIDE = 36
    cfg.DATA.TRAIN_CROP_SIZE = cfg.DATA.TEST_CROP_SIZE = 32
    cfg.DATA_LOADER.NUM_WORKERS = 0
    cfg.TRAIN.BATCH_SIZE = 6
    cfg.TEST.BATCH_SIZE = 3
    return cfg


@pytest.fixture
def damaged(motion, tmp_path):
    """A copy of the dataset with one unreadable video, named in the list on the third line."""
    folder = tmp_path / "damaged"
    shutil.copytree(motion, folder)
    (folder / "videos/train/000002.mp4").write_bytes(b"not a video")
    return folder


def assert_same_batches(batches, others):
    for batch, other in zip(batches, others, strict=True):
        assert torch.equal(batch["video"], other["video"])
        assert torch.equal(batch["label"], other["label"])
        assert batch["video_name"] == other["video_name"]


def clips_by_index(batches):
    return {
        index: video
        for batch in batches
        for index, video in zip(batch["video_index"].tolist(), batch["video"], strict=True)
    }


def test_further_training_lists_are_read_after_the_first_from_their_own_folder(cfg, motion, tmp_path):
    other = shutil.copytree(motion, tmp_path / "other")
    (other / "few.txt").write_text("train/000001.mp4 3\ntrain/000000.mp4 2\n")
    cfg.DATA.FURTHER_TRAIN_LISTS = [[f"{other}/few.txt", f"{other}/videos"], ["val.txt", ""]]

    dataset = build_dataset(cfg, "train")

    first, third = (read_video_list(motion / f"{split}.txt", prefix=motion) for split in ("train", "val"))
    assert dataset.entries[:NUM_TRAIN] == first and dataset.entries[NUM_TRAIN + 2 :] == third
    assert [(entry.path, entry.label) for entry in dataset.entries[NUM_TRAIN : NUM_TRAIN + 2]] == [
        (f"{other}/videos/train/000001.mp4", 3),
        (f"{other}/videos/train/000000.mp4", 2),
    ]
    assert dataset[NUM_TRAIN]["video"].shape == (3, 4, 32, 32)
    cfg.TRAIN.BATCH_SIZE = 7
    read = [name for batch in build_loader(cfg, "train") for name in batch["video_name"]]
    assert sorted(read) == sorted(entry.name for entry in dataset.entries)
    assert len(build_dataset(cfg, "val").entries) == NUM_VAL


def test_a_fault_of_a_further_training_list_is_named(cfg, motion):
    cfg.DATA.FURTHER_TRAIN_LISTS = [["nowhere.txt", ""]]
    with pytest.raises(AnnotationError, match=r"nowhere\.txt: cannot be read"):
        build_dataset(cfg, "train")


def test_a_batch_of_training_is_uint8_video_with_labels_and_names(cfg, motion):
    loader = build_loader(cfg, "train")
    batch = next(iter(loader))

    assert batch["video"].shape == (6, 3, 4, 32, 32)
    assert batch["video"].dtype == torch.uint8
    assert batch["label"].dtype == torch.int64
    assert batch["bad_videos"] == []
    entries = read_video_list(motion / "train.txt")
    for name, label, index in zip(
        batch["video_name"], batch["label"].tolist(), batch["video_index"].tolist(), strict=True
    ):
        assert entries[index].name == name
        # Half of the clips are mirrored; no pairs of labels are set.
        assert entries[index].label == label


def test_a_clip_has_the_keys_of_pytorchvideo(cfg):
    clip = build_dataset(cfg, "val")[2]

    assert clip.keys() == {"video", "label", "video_name", "video_index", "clip_index", "aug_index"}
    assert clip["video"].shape == (3, 4, 32, 32)
    assert (clip["video_index"], clip["clip_index"], clip["aug_index"]) == (2, 0, 0)


def test_testing_reads_all_views_crop_major(cfg):
    cfg.TEST.NUM_ENSEMBLE_VIEWS = 2
    cfg.TEST.NUM_SPATIAL_CROPS = 3
    cfg.DATA.TEST_SHORT_SIDE = 32

    assert build_dataset(cfg, "test")[0]["video"].shape == (3, 3 * 2 * 4, 32, 32)


def test_frames_come_scaled_from_the_decoder_if_the_recipe_reports_it(cfg):
    cfg.DATA.TRAIN_SHORT_SIDE, cfg.DATA.TEST_SHORT_SIDE = 40, 36
    cfg.DATA.SCALE_IN_DECODER = True

    for split, short_side in (("train", 40), ("val", 36), ("test", 36)):
        dataset = build_dataset(cfg, split)
        with dataset.open_video(dataset.entries[0]) as reader:
            assert reader.short_side == short_side
        assert dataset[0]["video"].shape[-2:] == (32, 32)


def test_the_test_list_is_the_validation_list_unless_it_is_named(cfg, motion, tmp_path):
    lines = (motion / "val.txt").read_text().splitlines()
    (tmp_path / "two.txt").write_text("\n".join(lines[:2]))

    assert len(build_dataset(cfg, "test")) == NUM_VAL
    cfg.DATA.TEST_LIST = str(tmp_path / "two.txt")
    assert len(build_dataset(cfg, "test")) == 2


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_workers_of_every_start_method_give_what_the_process_itself_gives(cfg, start_method):
    own = list(build_loader(cfg, "train"))
    cfg.DATA_LOADER.NUM_WORKERS = 1
    cfg.DATA_LOADER.START_METHOD = start_method

    loader = build_loader(cfg, "train")

    assert loader.num_workers == 1
    assert_same_batches(list(loader), own)


def label_with_num_threads(clip, generator):
    return {**clip, "label": torch.get_num_threads()}


def test_workers_compute_on_one_thread(cfg):
    cfg.DATA_LOADER.NUM_WORKERS = 1
    loader = build_loader(cfg, "val")
    loader.dataset.clip_transform = label_with_num_threads
    loader.collate_fn = list

    assert {clip["label"] for batch in loader for clip in batch} == {1}


def test_the_same_seed_gives_the_same_batches_and_another_gives_others(cfg):
    assert_same_batches(build_loader(cfg, "train"), build_loader(cfg, "train"))

    first = next(iter(build_loader(cfg, "train")))
    cfg.RNG_SEED = 1
    assert next(iter(build_loader(cfg, "train")))["video_name"] != first["video_name"]


def test_epochs_differ_in_order_and_in_augmentation(cfg):
    loader = build_loader(cfg, "train")
    epochs = []
    for epoch in range(2):
        loader.batch_sampler.set_epoch(epoch)
        epochs.append(list(loader))

    names = [[name for batch in epoch for name in batch["video_name"]] for epoch in epochs]
    assert sorted(names[0]) == sorted(names[1])
    assert names[0] != names[1]
    first, second = (clips_by_index(epoch) for epoch in epochs)
    assert sum(not torch.equal(first[index], second[index]) for index in first) > NUM_TRAIN / 2


def test_random_state_outside_the_loader_changes_nothing(cfg):
    torch.manual_seed(1)
    batches = list(build_loader(cfg, "train"))
    torch.manual_seed(2)

    assert_same_batches(build_loader(cfg, "train"), batches)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("start_batch", [1, 3])
def test_start_batch_gives_exactly_the_tail_of_the_uninterrupted_epoch(cfg, start_batch, num_workers):
    cfg.TRAIN.BATCH_SIZE = 3
    uninterrupted = build_loader(cfg, "train")
    uninterrupted.batch_sampler.set_epoch(5)
    cfg.DATA_LOADER.NUM_WORKERS = num_workers

    resumed = build_loader(cfg, "train")
    resumed.batch_sampler.set_epoch(5, start_batch=start_batch)

    assert_same_batches(list(resumed), list(uninterrupted)[start_batch:])
    assert len(resumed) == len(uninterrupted) == 4


@pytest.mark.parametrize("world_size", [2, 3])
def test_a_clip_looks_the_same_whatever_the_number_of_ranks(cfg, world_size):
    alone = clips_by_index(build_loader(cfg, "train"))

    shared = {}
    for rank in range(world_size):
        loader = build_loader(cfg, "train", world_size=world_size, rank=rank)
        shared |= clips_by_index(loader)

    assert shared.keys() == alone.keys() == set(range(NUM_TRAIN))
    assert all(torch.equal(shared[index], alone[index]) for index in alone)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_evaluation_reads_every_video_exactly_once_over_all_ranks(cfg, world_size):
    read = [
        index
        for rank in range(world_size)
        for batch in build_loader(cfg, "val", world_size=world_size, rank=rank)
        for index in batch["video_index"].tolist()
    ]

    assert sorted(read) == list(range(NUM_VAL))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_bad_video_is_listed_with_its_reason_and_not_replaced(cfg, damaged, num_workers):
    cfg.DATA.PATH_TO_DATA_DIR = str(damaged)
    cfg.DATA_LOADER.NUM_WORKERS = num_workers

    batches = list(build_loader(cfg, "train"))

    (bad,) = [bad for batch in batches for bad in batch["bad_videos"]]
    assert bad.path == str(damaged / "videos/train/000002.mp4")
    assert bad.video_index == 2
    assert bad.reason.startswith(f"{bad.path}: cannot be opened as a video")
    assert sorted(clips_by_index(batches)) == [index for index in range(NUM_TRAIN) if index != 2]
    assert sorted(len(batch["label"]) for batch in batches) == [5, 6]


def test_a_missing_video_is_a_bad_video(cfg, damaged):
    (damaged / "videos/train/000002.mp4").unlink()
    cfg.DATA.PATH_TO_DATA_DIR = str(damaged)

    assert "000002.mp4: no such file" in build_dataset(cfg, "train")[2].reason


def test_names_may_hold_spaces(cfg, motion, tmp_path):
    shutil.copy(motion / "videos/val/000000.mp4", tmp_path / "my clip (1).mp4")
    (tmp_path / "val.txt").write_text("my clip (1).mp4 5\n")
    cfg.DATA.PATH_TO_DATA_DIR = str(tmp_path)

    clip = build_dataset(cfg, "val")[0]

    assert (clip["video_name"], clip["label"]) == ("my clip (1).mp4", 5)


def test_a_prefix_stands_before_every_name(cfg, motion, tmp_path):
    (tmp_path / "val.txt").write_text("000000.mp4 0\n")
    cfg.DATA.PATH_TO_DATA_DIR = str(motion)
    cfg.DATA.VAL_LIST = str(tmp_path / "val.txt")
    cfg.DATA.PATH_PREFIX = "videos/val"

    assert build_dataset(cfg, "val")[0]["video"].shape == (3, 4, 32, 32)


def test_a_plain_index_reads_a_video_as_in_the_first_epoch(cfg):
    dataset = build_dataset(cfg, "train")

    assert torch.equal(dataset[3]["video"], dataset[SampleKey(0, 3)]["video"])
    assert isinstance(dataset, VideoListDataset)


def test_a_missing_folder_is_made_if_the_recipe_names_a_way(cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "prepare_motion", functools.partial(prepare_motion, num_train=3, num_val=2))
    cfg.DATA.CREATE_IF_MISSING = "motion"
    cfg.DATA.PATH_TO_DATA_DIR = str(tmp_path / "new" / "motion")

    assert len(build_dataset(cfg, "train")) == 3
    assert len(build_dataset(cfg, "val")) == 2


def test_a_missing_folder_is_otherwise_an_error_with_the_command(cfg, tmp_path):
    cfg.DATA.PATH_TO_DATA_DIR = str(tmp_path / "none")

    with pytest.raises(ConfigError) as error:
        build_loader(cfg, "train")

    assert f"DATA.PATH_TO_DATA_DIR must be an existing folder, got '{tmp_path}/none'" in str(error.value)
    assert "tsn-tsm-prepare-dataset --help" in str(error.value)


def test_a_label_outside_the_model_is_an_error_with_its_line(cfg, motion):
    cfg.MODEL.NUM_CLASSES = 1

    with pytest.raises(AnnotationError, match=re.escape(f"{motion}/train.txt:")):
        build_dataset(cfg, "train")


def test_an_unknown_split_is_refused(cfg):
    with pytest.raises(
        ValueError, match=re.escape("split must be one of ['train', 'val', 'test'], got 'dev'")
    ):
        build_dataset(cfg, "dev")


def test_classes_are_named_by_the_label_map_or_numbered(cfg):
    assert read_class_names(cfg)[0] == "move_left"
    cfg.DATA.LABEL_MAP = ""
    assert read_class_names(cfg) == ["0", "1", "2", "3", "4", "5", "6", "7"]


def test_a_label_map_of_another_length_is_refused(cfg):
    cfg.MODEL.NUM_CLASSES = 9

    with pytest.raises(
        ConfigError, match="must name MODEL.NUM_CLASSES = 9 classes, but .*labels.txt names 8"
    ):
        read_class_names(cfg)


@pytest.fixture
def frames_cfg(cfg, tmp_path):
    """Folders of 12 frames, of the lists `path frames label`, in place of video files."""
    for split, count in (("train", NUM_TRAIN), ("val", NUM_VAL)):
        for index in range(count):
            write_frame_folder(tmp_path / split / f"v{index}", 12, template="{:03}.jpg", start_index=0)
        lines = [f"{split}/v{index} 12 {index % 8}" for index in range(count)]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines))
    (tmp_path / "labels.txt").write_text("\n".join("abcdefgh"))
    cfg.DATA.PATH_TO_DATA_DIR = str(tmp_path)
    cfg.DATA.FORMAT = "frames"
    cfg.DATA.FRAME_TEMPLATE = "{:03}.jpg"
    cfg.DATA.FRAME_START_INDEX = 0
    return cfg


def test_a_recipe_chooses_frame_folders(frames_cfg):
    frames_cfg.DATA.TEST_SHORT_SIDE = 0
    clip = build_dataset(frames_cfg, "val")[1]

    assert (clip["video_name"], clip["label"]) == ("val/v1", 1)
    assert clip["video"].shape == (3, 4, 32, 32)


def test_frame_folders_resume_within_an_epoch_as_videos_do(frames_cfg):
    frames_cfg.TRAIN.BATCH_SIZE = 4
    uninterrupted = build_loader(frames_cfg, "train")
    uninterrupted.batch_sampler.set_epoch(2)
    frames_cfg.DATA_LOADER.NUM_WORKERS = 2

    resumed = build_loader(frames_cfg, "train")
    resumed.batch_sampler.set_epoch(2, start_batch=1)

    assert_same_batches(list(resumed), list(uninterrupted)[1:])


def test_a_dataset_of_frame_folders_travels_to_spawned_workers(frames_cfg):
    dataset = build_dataset(frames_cfg, "train")

    travelled = pickle.loads(pickle.dumps(dataset))

    assert torch.equal(travelled[5]["video"], dataset[5]["video"])


def test_a_folder_with_a_gap_is_a_bad_video_if_the_gap_is_wanted(frames_cfg):
    folder = Path(frames_cfg.DATA.PATH_TO_DATA_DIR) / "val/v3"
    (folder / "004.jpg").unlink()

    bad = build_dataset(frames_cfg, "val")[3]

    assert (bad.path, bad.video_index) == (str(folder), 3)
    assert bad.reason.startswith(f"{folder}/004.jpg: no such frame, number 5 of 12.")


def test_a_repeated_video_is_augmented_anew(cfg):
    cfg.TRAIN.NUM_REPEATS = 2

    batches = list(build_loader(cfg, "train"))

    first, second = clips_by_index(batches[:2]), clips_by_index(batches[2:])
    assert first.keys() == second.keys() == set(range(NUM_TRAIN))
    assert sum(not torch.equal(first[index], second[index]) for index in first) > NUM_TRAIN / 2


def test_the_recipe_chooses_balanced_classes_and_what_becomes_of_the_rest(cfg, tmp_path, motion):
    lines = (motion / "train.txt").read_text().splitlines()
    common, rare = ([line for line in lines if line.endswith(end)] for end in (" 0", " 1"))
    (tmp_path / "train.txt").write_text("\n".join([*common, *common, *common, *rare][:7]))
    cfg.DATA.TRAIN_LIST = str(tmp_path / "train.txt")
    cfg.TRAIN.CLASS_BALANCED = True
    cfg.TRAIN.DROP_LAST = True

    (batch,) = build_loader(cfg, "train")

    assert sorted(batch["label"].tolist()) in ([0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1])

    cfg.TRAIN.CLASS_POWER = 1000.0
    (batch,) = build_loader(cfg, "train")
    assert sorted(batch["label"].tolist()) == [0, 0, 0, 0, 0, 0]


def test_an_epoch_that_fills_no_step_is_an_error_of_the_recipe(cfg):
    cfg.TRAIN.BATCH_SIZE = 100
    cfg.TRAIN.DROP_LAST = True

    with pytest.raises(ConfigError, match="TRAIN.BATCH_SIZE 100: An epoch of 12 videos must fill one step"):
        build_loader(cfg, "train")


def test_several_labels_become_rows_of_ones_and_mirrored_classes_swap(cfg, motion, tmp_path):
    names = [line.split()[0] for line in (motion / "train.txt").read_text().splitlines()]
    (tmp_path / "train.txt").write_text("".join(f"{name} 7 0\n" for name in names))
    cfg.DATA.TRAIN_LIST = str(tmp_path / "train.txt")
    cfg.DATA.MULTI_LABEL = True
    cfg.DATA.FLIP_LABEL_PAIRS = [[0, 1]]

    label = torch.cat([batch["label"] for batch in build_loader(cfg, "train")])

    assert label.shape == (NUM_TRAIN, 8)
    assert {tuple(row.nonzero().flatten().tolist()) for row in label} == {(0, 7), (1, 7)}


def test_lists_and_videos_may_lie_behind_a_url(cfg, motion, monkeypatch):
    local = build_dataset(cfg, "val")[2]
    bucket = serve_bucket(motion, monkeypatch)
    cfg.DATA.PATH_TO_DATA_DIR = "bucket://"

    clip = build_dataset(cfg, "val")[2]

    assert torch.equal(clip["video"], local["video"])
    assert bucket.fetched == [f"bucket://{clip['video_name']}"]
    assert read_class_names(cfg)[0] == "move_left"


def test_frame_folders_may_lie_behind_a_url(frames_cfg, monkeypatch):
    local = build_dataset(frames_cfg, "val")[2]
    folder = Path(frames_cfg.DATA.PATH_TO_DATA_DIR)
    serve_bucket(folder, monkeypatch)
    frames_cfg.DATA.PATH_TO_DATA_DIR = "bucket://"

    assert torch.equal(build_dataset(frames_cfg, "val")[2]["video"], local["video"])
    (folder / "val/v2/004.jpg").unlink()
    assert build_dataset(frames_cfg, "val")[2].reason.startswith("bucket://val/v2/004.jpg: no such frame")


def test_what_cannot_be_fetched_is_a_bad_video(cfg, motion, monkeypatch):
    serve_bucket(motion, monkeypatch).error = RuntimeError("no credentials")
    cfg.DATA.PATH_PREFIX = "bucket://"

    bad = build_dataset(cfg, "val")[0]

    assert "cannot be fetched" in bad.reason and "no credentials" in bad.reason
