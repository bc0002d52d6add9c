"""SegmentClipSampler and prepare_dataset: our samplers and decoders in PyTorchVideo's datasets."""

from typing import Any

from pytorchvideo.data.clip_sampling import ClipInfo

from tsn_tsm_plugin.data.pytorchvideo_bridge import IndexSampler, SparsePathHandler, WholeVideoSampler
from tsn_tsm_plugin.pytorchvideo_patch.activate import activate, is_active
from tsn_tsm_plugin.registry import DECODERS, SAMPLERS


class SegmentClipSampler(WholeVideoSampler):
    """Sample one clip per video that holds only the frames of an index sampler, each read once.

    ``LabeledVideoDataset`` and ``labeled_video_dataset`` read by frame number with it, if this package is
    active. Clips are uint8 and have no audio. A video that cannot be read raises `VideoError`.

    Args:
        index_sampler: From a number of frames to frame numbers, such as a ``uniform_sampler``.
        augs_per_clip: As for `WholeVideoSampler`.
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
        """Create one from a name in the ``SAMPLERS`` registry.

        Args:
            name: Such as ``"uniform"``.
            num_segments: Frames of one view.
            mode: ``"train"`` draws frames at random, ``"test"`` is deterministic.
            augs_per_clip: As for `WholeVideoSampler`.
            **options: Of the registered sampler, such as ``num_views``.

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
    """Makes a process that unpickles it know our names, as this process does."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _activated, (is_active(),)


def _activated(is_wanted: bool) -> _Activation:
    if is_wanted:
        activate(eager=False)
    return _Activation()


def prepare_dataset(dataset: Any) -> None:
    """Make a ``LabeledVideoDataset`` serve our clip sampler, and all our names in workers of any kind.

    Args:
        dataset: Dataset after its ``__init__``.
    """
    # The first attribute: a spawned worker unpickles it before the transform, which may need the activation.
    attributes = dict(vars(dataset))
    vars(dataset).clear()
    vars(dataset).update({"_tsn_tsm_plugin": _Activation(), **attributes})
    sampler, decoder = dataset._clip_sampler, dataset._decoder
    if isinstance(sampler, SegmentClipSampler):
        own = decoder if decoder in DECODERS.names() else "auto"
        dataset.video_path_handler = SparsePathHandler(sampler.index_sampler, decoder=own)
        sampler.is_served = True
