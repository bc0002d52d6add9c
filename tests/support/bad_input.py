"""Malformed, damaged and unusual files: a function that writes each file, and the required result."""

import io
import os
import socket
import struct
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from support.frame_folders import write_frame_folder
from support.videos import numbered_frames, write_silence, write_video

ERROR = "error"
"""The file must be refused by a VideoError that starts with its path."""

EITHER = "either"
"""Frames cannot be checked; the file must be refused or be read, at once."""

Verdict = str | int
"""``ERROR``, ``EITHER``, or how many frames must be read."""

NUM_FRAMES = 12


def _h264(folder: Path, suffix: str = ".mp4") -> bytes:
    path = write_video(
        folder / f"source{suffix}", NUM_FRAMES, codec="mpeg4" if suffix == ".avi" else "libx264"
    )
    content = path.read_bytes()
    path.unlink()
    return content


def _cut(suffix: str, share: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        content = _h264(path.parent, suffix)
        path.write_bytes(content[: int(len(content) * share)])

    return write


def _flipped(first: float, last: float, seed: int) -> Callable[[Path], None]:
    """Flip a bit in twenty bytes between two fractions of the file's length."""

    def write(path: Path) -> None:
        content = bytearray(_h264(path.parent))
        draw = np.random.default_rng(seed)
        for offset in draw.integers(int(first * len(content)), int(last * len(content)), 20):
            content[offset] ^= 1 << int(draw.integers(8))
        path.write_bytes(content)

    return write


def _nothing(path: Path) -> None:
    """Write no file."""


def _content(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _video(
    num_frames: int = NUM_FRAMES, *, height: int = 48, width: int = 64, **settings
) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        frames = np.zeros((num_frames, height, width, 3), np.uint8)
        if width >= 10:
            frames = numbered_frames(num_frames, height=height, width=width)
        write_video(path, frames, **{"b_frames": 0, **settings})

    return write


def _renamed(suffix: str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(_h264(path.parent, suffix))


def _without_packets(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        output.start_encoding()


def _silence(path: Path) -> None:
    container = path.with_suffix(".m4a")
    write_silence(container)
    container.rename(path)


def _image(kind: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        Image.fromarray(numbered_frames(1)[0]).save(path, kind)

    return write


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("video.mp4", b"x" * 1000)


def _claims(pattern: bytes, replacement: bytes, suffix: str = ".avi") -> Callable[[Path], None]:
    """Write a video whose header claims another size."""

    def write(path: Path) -> None:
        content = _h264(path.parent, suffix)
        assert pattern in content
        path.write_bytes(content.replace(pattern, replacement))

    return write


def _link(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def _socket(path: Path) -> None:
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(path.parent)  # The path of a socket is short.
        try:
            listener.bind(path.name)
        finally:
            os.chdir(here)


def _rotated(path: Path) -> None:
    """Write a display matrix that rotates by 90 degrees into the header."""
    content = _h264(path.parent)
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    head, _, tail = content.rpartition(upright)
    assert head
    path.write_bytes(head + turned + tail)


def _gif_claim() -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (8, 8)).save(buffer, "GIF")
    content = bytearray(buffer.getvalue())
    content[6:10] = b"\xff" * 4
    return bytes(content)


_PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://192.0.2.1/a.ts\n#EXT-X-ENDLIST\n"
_SESSION = b"v=0\no=- 0 0 IN IP4 192.0.2.1\ns=x\nc=IN IP4 192.0.2.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"

BAD_VIDEOS: dict[str, tuple[Callable[[Path], object], Verdict]] = {
    # Empty files, or files of another kind.
    "empty.mp4": (_content(b""), ERROR),
    "one_byte.mp4": (_content(b"\0"), ERROR),
    "zeros.mp4": (_content(bytes(5000)), ERROR),
    "noise.mp4": (_content(np.random.default_rng(0).bytes(5000)), ERROR),
    "text.mp4": (_content(b"There is no video here.\n" * 50), ERROR),
    "not_found_page.mp4": (_content(b"<!DOCTYPE html><html><h1>404 Not Found</h1></html>"), ERROR),
    "message.mp4": (_content(b'{"error": "video is private"}'), ERROR),
    "archive.mp4": (_zip, ERROR),
    "playlist.mp4": (_content(_PLAYLIST), ERROR),
    "session.mp4": (_content(_SESSION), ERROR),
    "concat.mp4": (_content(b"ffconcat version 1.0\nfile '/etc/hostname'\n"), ERROR),
    "jpeg.mp4": (_image("JPEG"), EITHER),
    "png.mp4": (_image("PNG"), EITHER),
    "sound.mp4": (_silence, ERROR),
    "no_packets.mp4": (_without_packets, ERROR),
    # Cut short.
    **{f"cut_{percent}.mp4": (_cut(".mp4", percent / 100), ERROR) for percent in (1, 10, 25, 50, 75, 90)},
    "cut_99.mp4": (_cut(".mp4", 0.99), EITHER),  # The last bytes only name the encoder.
    **{f"cut_{percent}.mkv": (_cut(".mkv", percent / 100), ERROR) for percent in (2, 40, 95)},
    **{f"cut_{percent}.avi": (_cut(".avi", percent / 100), ERROR) for percent in (2, 40)},
    "cut_60.ts": (_cut(".ts", 0.6), EITHER),
    # Bits flipped in the first bytes, in the pictures, in the index at the end.
    **{f"flipped_head_{seed}.mp4": (_flipped(0.0, 0.02, seed), EITHER) for seed in range(2)},
    **{f"flipped_pictures_{seed}.mp4": (_flipped(0.1, 0.7, seed), EITHER) for seed in range(3)},
    **{f"flipped_index_{seed}.mp4": (_flipped(0.85, 1.0, seed), EITHER) for seed in range(3)},
    # A header that claims an absurd size; the size in an AVI header is not used.
    "claims.avi": (_claims(struct.pack("<ii", 64, 48), struct.pack("<ii", 1 << 20, 1 << 20)), NUM_FRAMES),
    "claims.y4m": (_content(b"YUV4MPEG2 W1000000 H1000000 F25:1 Ip C420\nFRAME\n" + bytes(100)), ERROR),
    "claims.gif": (_content(_gif_claim()), ERROR),
    # Unusual files that must be read.
    "matroska.mp4": (_renamed(".mkv"), NUM_FRAMES),
    "mp4.avi": (_renamed(".mp4"), NUM_FRAMES),
    "without_suffix": (_renamed(".mp4"), NUM_FRAMES),
    "name with spaces (1).mp4": (_renamed(".mp4"), NUM_FRAMES),
    "pattern_%03d.mp4": (_renamed(".mp4"), NUM_FRAMES),
    "concat:video#1?.mp4": (_renamed(".mp4"), NUM_FRAMES),
    "n\u00e4me_\u52d5\u753b.mp4": (_renamed(".mp4"), NUM_FRAMES),
    "one_frame.mp4": (_video(1), 1),
    "two_frames.mp4": (_video(2), 2),
    "odd_size.mkv": (_video(height=45, width=61, codec="ffv1", pix_fmt="bgr0"), NUM_FRAMES),
    "one_pixel.avi": (_video(height=1, width=1, codec="png", pix_fmt="rgb24"), NUM_FRAMES),
    "one_column.avi": (_video(height=200, width=1, codec="png", pix_fmt="rgb24"), NUM_FRAMES),
    "one_row.avi": (_video(height=1, width=200, codec="png", pix_fmt="rgb24"), NUM_FRAMES),
    "ten_bits.mkv": (_video(codec="ffv1", pix_fmt="yuv420p10le"), NUM_FRAMES),
    "alpha.mkv": (_video(codec="ffv1", pix_fmt="bgra"), NUM_FRAMES),
    "grey.mkv": (_video(codec="ffv1", pix_fmt="gray"), NUM_FRAMES),
    "variable_rate.mkv": (_video(pts=lambda number: number * number), NUM_FRAMES),
    "slow.mp4": (_video(fps=Fraction(1, 2)), NUM_FRAMES),
    "no_times.h264": (_video(container="h264"), NUM_FRAMES),
    "rotated.mp4": (_rotated, NUM_FRAMES),
    # No files.
    "missing.mp4": (_nothing, ERROR),
    "dangling_link.mp4": (_link("nowhere.mp4"), ERROR),
    "circular_link.mp4": (_link("circular_link.mp4"), ERROR),
    "folder.mp4": (Path.mkdir, ERROR),
    "pipe.mp4": (os.mkfifo, ERROR),
    "socket.mp4": (_socket, ERROR),
    "endless.mp4": (_link("/dev/zero"), ERROR),
    "without_permission.mp4": (lambda path: (path.write_bytes(b"x" * 100), path.chmod(0)), ERROR),
    f"{'long' * 80}.mp4": (_nothing, ERROR),
    "zeros.mp4/within_a_file.mp4": (_nothing, ERROR),
    "null\0byte.mp4": (_nothing, ERROR),
}


TOO_NARROW = ("one_column.avi", "one_row.avi")
"""Read by the reader, but refused by the dataset."""


def _frame(number: int, content: bytes | None) -> Callable[[Path], None]:
    """Write a folder in which one frame has other content or is missing."""

    def write(folder: Path) -> None:
        write_frame_folder(folder, NUM_FRAMES)
        path = folder / f"img_{number:05}.jpg"
        path.unlink()
        if content is not None:
            path.write_bytes(content)

    return write


def _encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (64, 48), **settings) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **settings)
    return buffer.getvalue()


def _jpeg_claim() -> bytes:
    content = bytearray(_encoded("JPEG"))
    offset = content.index(b"\xff\xc0") + 5
    content[offset : offset + 4] = b"\xff\xff" * 2
    return bytes(content)


def _all_of_one_size(size: tuple[int, int]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        folder.mkdir()
        for number in range(1, NUM_FRAMES + 1):
            (folder / f"img_{number:05}.jpg").write_bytes(_encoded("JPEG", size=size))

    return write


def _frame_is_a_folder(folder: Path) -> None:
    write_frame_folder(folder, NUM_FRAMES)
    (folder / "img_00003.jpg").unlink()
    (folder / "img_00003.jpg").mkdir()


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], Verdict]] = {
    "gap": (_frame(3, None), ERROR),
    "first_missing": (_frame(1, None), ERROR),
    "last_missing": (_frame(NUM_FRAMES, None), ERROR),
    "empty_frame": (_frame(4, b""), ERROR),
    "text_frame": (_frame(4, b"no image"), ERROR),
    "png_frame": (_frame(4, _encoded("PNG")), NUM_FRAMES),
    "png_frame_cut_at_half": (_frame(4, _encoded("PNG")[:-200]), ERROR),
    "gif_frame": (_frame(4, _encoded("GIF")), ERROR),
    "frame_cut_at_2_bytes": (_frame(4, _encoded("JPEG")[:2]), ERROR),
    "frame_cut_at_half": (_frame(4, _encoded("JPEG")[:-200]), ERROR),
    "frame_cut_at_its_last_byte": (_frame(4, _encoded("JPEG")[:-1]), ERROR),
    "frame_of_another_size": (_frame(4, _encoded("JPEG", size=(32, 32))), ERROR),
    "frame_that_claims_enormous_size": (_frame(4, _jpeg_claim()), ERROR),
    "frame_is_a_folder": (_frame_is_a_folder, ERROR),
    "empty_folder": (Path.mkdir, ERROR),
    "missing_folder": (_nothing, ERROR),
    "file_in_place_of_a_folder": (_content(b"x"), ERROR),
    "dangling_folder": (_link("nowhere"), ERROR),
    "grey_frame": (_frame(4, _encoded("JPEG", mode="L")), NUM_FRAMES),
    "cmyk_frame": (_frame(4, _encoded("JPEG", mode="CMYK")), NUM_FRAMES),
    "progressive_frame": (_frame(4, _encoded("JPEG", progressive=True)), NUM_FRAMES),
    "frame_with_rubbish_behind": (_frame(4, _encoded("JPEG") + b"rubbish"), NUM_FRAMES),
    "one_pixel_frames": (_all_of_one_size((1, 1)), NUM_FRAMES),
    "odd_frames": (_all_of_one_size((61, 45)), NUM_FRAMES),
    "folder with spaces": (_all_of_one_size((64, 48)), NUM_FRAMES),
}


BAD_LISTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "must list at least one video"),
    "blank": (b"\n \n\r\n", "must list at least one video"),
    "comma": (b"a.mp4,0\n", ":1: must be 'path label'"),
    "semicolon": (b"a.mp4;0\n", ":1: must be 'path label'"),
    "no_label": (b"a.mp4 0\nb.mp4\n", ":2: must be 'path label'"),
    "only_a_label": (b"3\n", ":1: must be 'path label'"),
    "label_name": (b"a.mp4 running\n", ":1: label must be an integer, got 'running'"),
    "label_fraction": (b"a.mp4 1.0\n", ":1: label must be an integer, got '1.0'"),
    "label_negative": (b"a.mp4 -1\n", ":1: label must not be negative, got -1"),
    "label_out_of_range": (b"a.mp4 3\n", ":1: label must be below the number of classes, 3, got 3"),
    "label_enormous": (b"a.mp4 99999999999999999999\n", ":1: label must be an integer"),
    "label_endless": (b"a.mp4 " + b"9" * 5000 + b"\n", ":1: label must be an integer"),
    "header": (b"path label\na.mp4 0\n", ":1: label must be an integer, got 'label'"),
    "two_labels_of_one": (b"a.mp4 0\na.mp4 1\n", ":2: 'a.mp4' has label 1, but label 0 on line 1"),
    "utf16": ("a.mp4 0\n".encode("utf-16"), "must be UTF-8 text"),
    "latin1": ("n\u00e4me.mp4 0\n".encode("latin-1"), "must be UTF-8 text, got byte 0xe4 at offset 1"),
    "binary": (bytes(range(256)), "must be UTF-8 text"),
    "nul": (b"a\0b.mp4 0\n", ":1: path must not hold NUL"),
    "quoted": (b'"a.mp4" "0"\n', ":1: label must be an integer"),
    "csv_header": (b"label,youtube_id\nx,y\n", ":1: must be 'path label'"),
}
"""Lists for 3 classes, and the error after the path of the list."""

ODD_LISTS: dict[str, tuple[bytes, list[tuple[str, int]]]] = {
    "crlf": (b"a.mp4 0\r\nb.mp4 1\r\n", [("a.mp4", 0), ("b.mp4", 1)]),
    "cr": (b"a.mp4 0\rb.mp4 1\r", [("a.mp4", 0), ("b.mp4", 1)]),
    "mark": (b"\xef\xbb\xbfa.mp4 0\n", [("a.mp4", 0)]),
    "no_last_newline": (b"a.mp4 0\nb.mp4 1", [("a.mp4", 0), ("b.mp4", 1)]),
    "tabs": (b"a.mp4\t0\n", [("a.mp4", 0)]),
    "spaces_in_names": (b"my clip 2.mp4 1\n", [("my clip 2.mp4", 1)]),
    "spaces_around": (b"  a.mp4   2  \n", [("a.mp4", 2)]),
    "duplicate": (b"a.mp4 0\na.mp4 0\n", [("a.mp4", 0), ("a.mp4", 0)]),
    "unicode": ("\u52d5\u753b.mp4 1\n".encode(), [("\u52d5\u753b.mp4", 1)]),
    "line_separators_in_names": ("a\u2028b.mp4 1\n".encode(), [("a\u2028b.mp4", 1)]),
}
"""Lists that editors and tools write, and what they mean."""
