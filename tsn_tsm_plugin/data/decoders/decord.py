"""DecordDecoder: read frames with decord, which contains an FFmpeg of 2020."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tsn_tsm_plugin.data.decoders.exact_or_fallback import (
    INSTALL_COMMAND,
    ExactOrFallbackDecoder,
    NotExactError,
)


class DecordDecoder(ExactOrFallbackDecoder):
    """Read with decord if it gives the frames of a plain decode, otherwise with PyAV."""

    library = "decord"

    def _load_library(self) -> None:
        try:
            import decord
        except (ImportError, OSError) as error:
            raise ImportError(
                f"decoder 'decord' needs the decord package: {INSTALL_COMMAND}, or use decoder='pyav'."
            ) from error
        self._library = decord

    def _open(self, stream_index: int, num_threads: int) -> int:
        try:
            self._decoder = self._library.VideoReader(self.path, num_threads=num_threads)
        except self._library.DECORDError as error:
            raise NotExactError("it cannot open the video") from error
        return len(self._decoder)

    def _read(self, indices: Sequence[int]) -> Tensor:
        try:
            seconds = self._decoder.get_frame_timestamp(list(indices))[:, 0]
            batch = self._decoder.get_batch(list(indices))
        except self._library.DECORDError as error:
            raise NotExactError("it cannot decode a frame") from error
        self._check_times(indices, seconds.tolist())
        # The type depends on decord's process-wide bridge.
        frames_THWC = batch if isinstance(batch, Tensor) else torch.from_numpy(batch.asnumpy())
        return frames_THWC.permute(0, 3, 1, 2)
