"""TorchCodecDecoder: read frames with torchcodec, which loads the FFmpeg libraries of the system."""

from collections.abc import Sequence

from torch import Tensor

from tsn_tsm_plugin.data.decoders.exact_or_fallback import INSTALL_COMMAND, ExactOrFallbackDecoder


class TorchCodecDecoder(ExactOrFallbackDecoder):
    """Read with torchcodec if it gives the frames of a plain decode, otherwise with PyAV."""

    library = "torchcodec"

    def _load_library(self) -> None:
        try:
            from torchcodec.decoders import VideoDecoder
        except ImportError as error:
            raise ImportError(
                f"decoder 'torchcodec' needs torchcodec: {INSTALL_COMMAND}, or use decoder='pyav'."
            ) from error
        except (RuntimeError, OSError) as error:
            raise ImportError(
                "decoder 'torchcodec' is installed but does not load; most often the shared libraries of "
                "FFmpeg are missing: install FFmpeg 4 or later with the system's package manager, or use "
                "decoder='pyav', which brings its own."
            ) from error
        self._decoder_class = VideoDecoder

    def _open(self, stream_index: int, num_threads: int) -> int:
        self._decoder = self._decoder_class(
            self.path, stream_index=stream_index, num_ffmpeg_threads=num_threads, seek_mode="exact"
        )
        return len(self._decoder)

    def _read(self, indices: Sequence[int]) -> Tensor:
        frames = self._decoder.get_frames_at(list(indices))
        self._check_times(indices, frames.pts_seconds.tolist())
        return frames.data
