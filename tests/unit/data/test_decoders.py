"""The other decoders give the frames of a plain decode, or PyAV gives them with a warning."""

import sys
from contextlib import closing

import av
import pytest
import torch
from support.videos import numbered_frames, rotation_matrix, sequential_frames, with_reference, write_video

from tsn_tsm_plugin.data.decoders import exact_or_fallback
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.errors import UnknownComponentError, VideoError
from tsn_tsm_plugin.registry import DECODERS

X265 = "open-gop=1:log-level=none:pools=none"
OWN = {
    "h264.mp4": {},
    "h264.mkv": {},
    "vp9.webm": {"codec": "libvpx-vp9", "b_frames": 0, "options": {"cpu-used": "8"}},
    "yuv444.mp4": {"pix_fmt": "yuv444p"},
}
DELEGATED = {
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "mpeg2.mpg": {"codec": "mpeg2video"},
    "h264-open.mp4": {"options": {"x264-params": "open-gop=1"}},
    "hevc-open.mp4": {"codec": "libx265", "options": {"x265-params": X265}},
    "refresh.mp4": {"b_frames": 0, "options": {"x264-params": "intra-refresh=1"}},
    "interlaced.mp4": {"options": {"flags": "+ilme+ildct"}},
    "edited.mp4": {"pts": lambda number: number - 7},
    "10bit.mp4": {"pix_fmt": "yuv420p10le"},
    "odd.webm": {"frames": numbered_frames(20, height=35, width=51), "codec": "libvpx-vp9", "b_frames": 0},
    "stream.ts": {"container": "mpegts"},
}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.extras) for name in ("torchcodec", "decord")])
def library(request):
    """Name of an installed library; torchcodec may be installed without the FFmpeg that it loads."""
    try:
        __import__(f"{request.param}.decoders" if request.param == "torchcodec" else request.param)
    except (ImportError, RuntimeError, OSError) as error:
        pytest.skip(f"{request.param} does not load: {str(error).splitlines()[0]}")
    return request.param


@pytest.fixture(autouse=True)
def _each_test_hears_its_warnings():
    exact_or_fallback._told.clear()


def uses_fallback(path, library):
    with closing(DECODERS.get(library)(path)) as decoder:
        return decoder.uses_fallback


def assert_exact(path, library):
    expected = sequential_frames(path)
    generator = torch.Generator().manual_seed(0)
    with VideoReader(path, library) as reader:
        assert reader.num_frames == len(expected)
        for _ in range(8):
            wanted = torch.randint(len(expected), (4,), generator=generator)
            assert torch.equal(reader.read(wanted), expected[wanted])
    return uses_fallback(path, library)


@pytest.mark.parametrize("name", OWN)
def test_a_library_reads_what_it_reads_exactly(tmp_path, library, name):
    assert not assert_exact(write_video(tmp_path / name, **{"frames": 30} | OWN[name]), library)


@pytest.mark.parametrize("name", DELEGATED)
def test_what_a_library_reads_otherwise_is_read_with_pyav_and_reported(tmp_path, library, name, caplog):
    path = write_video(tmp_path / name, **{"frames": 30} | DELEGATED[name])
    assert assert_exact(path, library)
    assert f"{path}: read with decoder='pyav', not {library}" in caplog.text


@pytest.mark.parametrize(
    "decoder",
    ["pyav", *(pytest.param(name, marks=pytest.mark.extras) for name in ("torchcodec", "decord"))],
)
def test_a_reference_out_of_a_container_is_not_followed(tmp_path, decoder):
    other = write_video(tmp_path / "other.mp4", 20)
    path = tmp_path / "video.mp4"
    path.write_bytes(with_reference(other.read_bytes(), other.name))
    with av.open(str(path), options={"enable_drefs": "1", "protocol_whitelist": "file"}) as container:
        assert len(list(container.decode(video=0))) == 20, "FFmpeg does not follow this reference"

    with pytest.raises(VideoError, match="holds no frame"):
        VideoReader(path, decoder)


@pytest.mark.parametrize(
    "name",
    [
        "arm_wrestling.mp4",
        "low_fps.mp4",
        "mpeg4.avi",
        "two_video_streams.mp4",
        "h265_video.mp4",
        "h264_10bits.mp4",
        "av1_video.mkv",
    ],
)
def test_real_videos_are_exact_with_every_library(shared_videos, library, name):
    assert_exact(shared_videos / name, library)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_library_gives_frames_as_upright_as_pyav_does(tmp_path, library, degrees):
    path = write_video(tmp_path / "video.mp4", 20, display_matrix=rotation_matrix(degrees))
    wanted = [13, 0, 7]
    with VideoReader(path, library) as reader:
        assert torch.equal(reader.read(wanted), VideoReader(path).read(wanted))
        assert (reader.height, reader.width) == tuple(reader.read([3]).shape[2:])
        # decord mixes up the channels of frames as small as these that it turns by 90 degrees.
        assert uses_fallback(path, library) == (library == "decord" and degrees != 180)


def test_a_library_that_turns_what_is_left_as_coded_is_not_used(tmp_path, library):
    path = write_video(tmp_path / "video.mp4", 8, display_matrix=rotation_matrix(45))
    assert assert_exact(path, library)


class _LyingLibrary(exact_or_fallback.ExactOrFallbackDecoder):
    """Gives frames as coded, as libraries do that know no display matrix."""

    library = "lying"

    def _load_library(self):
        pass

    def _open(self, stream_index, num_threads):
        self._frames = sequential_frames(self.path)
        return len(self._frames)

    def _read(self, indices):
        return self._frames[list(indices)]

    def _close(self):
        self._frames = None


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_of_a_library_that_does_not_turn_them_are_turned(tmp_path, degrees):
    path = write_video(tmp_path / "video.mp4", 8, display_matrix=rotation_matrix(degrees))
    decoder = _LyingLibrary(path)
    assert not decoder.uses_fallback
    assert torch.equal(decoder.read([5, 2]), VideoReader(path).read([5, 2]))


def test_frames_that_look_the_same_turned_vouch_for_no_library(tmp_path):
    frames = numbered_frames(8)
    frames[[0, 4, 7]] = 0
    path = write_video(tmp_path / "video.mp4", frames, display_matrix=rotation_matrix(180))
    decoder = _LyingLibrary(path)
    assert decoder.uses_fallback
    assert torch.equal(decoder.read([5, 2]), VideoReader(path).read([5, 2]))


@pytest.mark.parametrize("name", ["torchcodec", "decord"])
def test_a_library_that_is_not_installed_is_named_with_its_remedy(tmp_path, monkeypatch, name):
    path = write_video(tmp_path / "video.mp4", 4)
    for module in (name, f"{name}.decoders"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"pip install 'tsn_tsm_plugin\[decoders\]', or use decoder='pyav'"):
        VideoReader(path, name)


def test_an_unknown_decoder_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(UnknownComponentError, match="pyav"):
        VideoReader(write_video(tmp_path / "video.mp4", 4), "pyaf")
