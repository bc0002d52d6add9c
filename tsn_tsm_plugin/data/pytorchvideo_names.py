"""SegmentClipSampler, prepare_dataset: our samplers and decoders in PyTorchVideo's datasets."""

from typing import Any

from pytorchvideo.data.clip_sampling import ClipInfo

from tsn_tsm_plugin.data.pytorchvideo_bridge import SparsePathHandler, WholeVideoSampler
from tsn_tsm_plugin.pytorchvideo_patch.activate import activate, is_active
from tsn_tsm_plugin.registry import DECODERS, SAMPLERS
from tsn_tsm_plugin.transforms.segments import IndexSampler


class SegmentClipSampler(WholeVideoSampler):
    """Sample one clip per video with only the frames of an index sampler, and read each frame once.

    If this package is active, ``LabeledVideoDataset`` and ``labeled_video_dataset`` with this sampler read
    by frame number. Clips are uint8 and have no audio. A video that cannot be read raises `VideoError`.

    Args:
        index_sampler: Function from a number of frames to frame numbers, such as a ``uniform_sampler``.
        augs_per_clip: See `WholeVideoSampler`.
    """

    def __init__(self, index_sampler: IndexSampler, augs_per_clip: int = 1) -> None:
        super().__init__(augs_per_clip)
        self.index_sampler = index_sampler
        self.is_served = False

    @classmethod
    def named(
        cls,
        name: str,
        num_segments: int | None = None,
        mode: str = "test",
        *,
        augs_per_clip: int = 1,
        **options: Any,
    ) -> "SegmentClipSampler":
        """Create a clip sampler from a name in the ``SAMPLERS`` registry.

        Args:
            name: Name such as ``"uniform"``.
            num_segments: Frames of one view.
            mode: ``"train"`` draws frames at random, ``"test"`` is deterministic.
            augs_per_clip: See `WholeVideoSampler`.
            **options: Options of the registered sampler, such as ``num_views``.

        Raises:
            TypeError: If ``num_segments`` is missing.
        """
        if num_segments is None:
            raise TypeError(f"The clip sampler {name!r} needs num_segments, the frames of a view, such as 8.")
        return cls(SAMPLERS.get(name)(num_segments, mode=mode, **options), augs_per_clip)

    def __call__(self, *video: Any, **keywords: Any) -> ClipInfo:
        """Return the clip of the whole video; the dataset's path handler picks the frames.

        Raises:
            RuntimeError: If the dataset does not read by frame number.
        """
        if not self.is_served:
            raise RuntimeError(
                "SegmentClipSampler needs a dataset that reads by frame number: build a LabeledVideoDataset "
                "while tsn_tsm_plugin is active, or use WholeVideoSampler with a SparsePathHandler."
            )
        return super().__call__(*video, **keywords)


class _Activation:
    """Marker that activates this package in a process that unpickles it, if it is active in this process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _activated, (is_active(),)


def _activated(is_wanted: bool) -> _Activation:
    if is_wanted:
        activate(eager=False)
    return _Activation()


def prepare_dataset(dataset: Any) -> None:
    """Make a ``LabeledVideoDataset`` support our clip sampler, and our names in workers of any kind.

    Args:
        dataset: Dataset after its ``__init__``.
    """
    # Put the marker first: a spawned worker must unpickle it before the transform, which may need activation.
    attributes = dict(vars(dataset))
    vars(dataset).clear()
    vars(dataset).update({"_tsn_tsm_plugin": _Activation(), **attributes})
    sampler, decoder = dataset._clip_sampler, dataset._decoder
    if isinstance(sampler, SegmentClipSampler):
        own = decoder if decoder in DECODERS.names() else "auto"
        dataset.video_path_handler = SparsePathHandler(sampler.index_sampler, decoder=own)
        sampler.is_served = True
