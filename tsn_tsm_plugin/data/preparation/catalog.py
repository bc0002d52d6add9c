"""OfficialDataset, Storage: published datasets by name, with annotation readers and video storage."""

from collections.abc import Callable
from dataclasses import dataclass

from tsn_tsm_plugin.data.preparation.annotations import Annotations
from tsn_tsm_plugin.data.preparation.diving48 import read_diving48
from tsn_tsm_plugin.data.preparation.kinetics import read_kinetics
from tsn_tsm_plugin.data.preparation.something import read_jester, read_sthv1, read_sthv2
from tsn_tsm_plugin.data.preparation.splits import read_hmdb51, read_ucf101


@dataclass(frozen=True)
class Storage:
    """Storage of a dataset's videos as video files or folders of frames.

    Attributes:
        template: Name of a frame's file if videos are folders of frames; empty for video files.
        start_index: Number of the first frame.
    """

    template: str = ""
    start_index: int = 1


@dataclass(frozen=True)
class OfficialDataset:
    """A published dataset.

    Attributes:
        title: Name in papers.
        num_classes: Number of classes; a lower number in the given files gives a warning.
        read: Function that reads the folder of annotation files; it takes ``split=`` if splits are numbered.
        storage: Storage of the videos as distributed.
        has_numbered_splits: Whether there are three splits into training and test.
    """

    title: str
    num_classes: int
    read: Callable[..., Annotations]
    storage: Storage = Storage()
    has_numbered_splits: bool = False


_FRAMES = Storage(template="{:05}.jpg", start_index=1)

OFFICIAL_DATASETS = {
    "kinetics400": OfficialDataset("Kinetics-400", 400, read_kinetics),
    "sthv1": OfficialDataset("Something-Something V1", 174, read_sthv1, _FRAMES),
    "sthv2": OfficialDataset("Something-Something V2", 174, read_sthv2),
    "diving48": OfficialDataset("Diving48, V2 labels", 48, read_diving48),
    "jester": OfficialDataset("Jester", 27, read_jester, _FRAMES),
    "ucf101": OfficialDataset("UCF101", 101, read_ucf101, has_numbered_splits=True),
    "hmdb51": OfficialDataset("HMDB51", 51, read_hmdb51, has_numbered_splits=True),
}
