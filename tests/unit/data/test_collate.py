import torch

from tsn_tsm_plugin.data.collate import BadVideo, collate_clips


def clip(number):
    return {
        "video": torch.full((3, 2, 4, 4), number, dtype=torch.uint8),
        "label": number + 10,
        "video_name": f"{number}.mp4",
        "video_index": number,
        "clip_index": 0,
        "aug_index": 0,
    }


def test_clips_are_stacked_in_order():
    batch = collate_clips([clip(2), clip(5)])

    assert batch["video"].shape == (2, 3, 2, 4, 4)
    assert batch["video"].dtype == torch.uint8
    assert batch["video"][:, 0, 0, 0, 0].tolist() == [2, 5]
    assert batch["label"].tolist() == [12, 15]
    assert batch["label"].dtype == batch["video_index"].dtype == torch.int64
    assert batch["video_index"].tolist() == [2, 5]
    assert batch["video_name"] == ["2.mp4", "5.mp4"]
    assert batch["bad_videos"] == []


def test_bad_videos_are_named_and_not_replaced():
    bad = BadVideo("/data/broken.mp4", 3, "/data/broken.mp4: is empty")

    batch = collate_clips([clip(2), bad, clip(5)])

    assert batch["bad_videos"] == [bad]
    assert batch["video_index"].tolist() == [2, 5]


def test_a_batch_of_bad_videos_alone_is_empty():
    batch = collate_clips([BadVideo("a.mp4", 0, "empty"), BadVideo("b.mp4", 1, "empty")])

    assert batch["video"].shape[0] == batch["label"].shape[0] == 0
    assert batch["label"].dtype == torch.int64
    assert [bad.path for bad in batch["bad_videos"]] == ["a.mp4", "b.mp4"]
