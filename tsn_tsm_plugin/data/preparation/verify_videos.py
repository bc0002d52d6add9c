"""Inspection, Journal: check that each video opens, count its frames and optionally convert it.

A journal keeps the findings, one line of JSON per video, so that the work can be interrupted and continued.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tsn_tsm_plugin.atomic_files import os_errors_as_run_folder_errors
from tsn_tsm_plugin.data.annotations import fault_of_name
from tsn_tsm_plugin.data.frame_folder import FrameFolderReader
from tsn_tsm_plugin.data.preparation.convert import Conversion
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.data.video_files import is_left_behind
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.paths import printable, read_bytes


@dataclass(frozen=True)
class Finding:
    """Result of checking a video.

    Attributes:
        name: Path relative to the folder of the videos.
        stamp: Size and modification time of the file or folder when checked, and the kind of check.
        num_frames: Number of frames; 0 for an unreadable video.
        error: Reason why the video is unreadable; empty for readable videos.
        is_sparse: Whether reading a few frames decodes less than all frames before them; None if not checked.
    """

    name: str
    stamp: str
    num_frames: int = 0
    error: str = ""
    is_sparse: bool | None = None


@dataclass(frozen=True)
class Inspection:
    """Settings of checking a video.

    Attributes:
        folder: Folder of the videos.
        template: Name of a frame's file if videos are folders of frames; empty for video files.
        conversion: Conversion of each video, if any.
        target_folder: Folder of the converted videos.
    """

    folder: Path
    template: str = ""
    conversion: Conversion | None = None
    target_folder: Path | None = None

    def listed_name(self, name: str) -> str:
        """Return the name in lists of a video, or of the converted video."""
        return name if self.conversion is None else self.conversion.target_name(name)

    def stamp(self, name: str) -> str:
        """Return a value that changes if the video, its check or its conversion changes."""
        try:
            status = (self.folder / name).stat()
        except OSError:  # A broken link, for example.
            status = (self.folder / name).lstat()
        how = hashlib.sha256(repr(self).encode()).hexdigest()
        return f"{status.st_size} {status.st_mtime_ns} {how[:12]}"

    def __call__(self, name: str) -> Finding:
        """Check one video."""
        source = self.folder / name
        if fault := fault_of_name(self.listed_name(name)):
            return Finding(name, "", error=f"{printable(source)}: {fault}")
        try:
            stamp = self.stamp(name)
        except OSError as error:
            reason = f"{printable(source)}: cannot be looked at ({error.strerror}). Check the path."
            return Finding(name, "", error=reason)
        try:
            num_frames, is_sparse = (
                (self._count_folder(source), True) if self.template else _look_at_file(source)
            )
            if self.conversion is not None:
                self.conversion.write(source, self._target(name), num_frames)
        except VideoError as error:
            return Finding(name, stamp, error=str(error))
        return Finding(name, stamp, num_frames, is_sparse=is_sparse)

    def _count_folder(self, source: Path) -> int:
        reader = FrameFolderReader(source, template=self.template)
        suffix = Path(self.template).suffix
        num_files = sum(path.suffix == suffix and not is_left_behind(path.name) for path in source.iterdir())
        if num_files != reader.num_frames:
            missing = reader.frame_path(reader.num_frames)
            raise VideoError(f"{source}: has {num_files} frames, but not {missing}: a gap. Fetch it again.")
        reader.read([0, reader.num_frames - 1])
        return reader.num_frames

    def _target(self, name: str) -> Path:
        assert self.target_folder is not None
        return self.target_folder / self.listed_name(name)

    def is_current(self, finding: Finding | None) -> bool:
        """Return whether a finding is still valid and the converted video still exists."""
        if finding is None:
            return False
        try:
            if self.stamp(finding.name) != finding.stamp:
                return False
        except OSError:
            return False
        return self.conversion is None or bool(finding.error) or self._target(finding.name).exists()


def _look_at_file(source: Path) -> tuple[int, bool]:
    with VideoReader(source) as reader:
        reader.read([0, reader.num_frames - 1])
        return reader.num_frames, reader.is_sparse


class Journal:
    """Findings on the disk; a truncated last line is ignored.

    Args:
        path: Path of the file, which has one ``Finding`` per line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.findings: dict[str, Finding] = {}
        text = ""
        if path.exists():
            with os_errors_as_run_folder_errors(path):
                text = read_bytes(path).decode("utf-8", "replace")
        for line in text.splitlines():
            try:
                finding = Finding(**json.loads(line))
            except (ValueError, TypeError):
                continue
            self.findings[finding.name] = finding

    def add(self, finding: Finding) -> None:
        """Append a finding to the file at once."""
        self.findings[finding.name] = finding
        with os_errors_as_run_folder_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(finding)) + "\n")
