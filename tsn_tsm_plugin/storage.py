"""manager_of, upload_folder: paths that are not local files (https, s3, gs, hf, ...), and their handlers.

iopath opens every path of this package. Handlers that the program has registered with iopath come first, then
handlers of installed packages (entry-point group ``tsn_tsm_plugin.path_handlers``), then these handlers:

==========================  ================================================================
``https://``, ``http://``   downloaded once into iopath's cache
``hf://USER/NAME``          a model repository of the Hugging Face hub, or one of its files
``s3://``, ``gs://``, ...   any file system of fsspec whose package is installed (s3fs, gcsfs)
==========================  ================================================================
"""

import functools
import hashlib
import importlib.metadata
import os
import re
import tempfile
from pathlib import Path
from typing import IO, Any

from iopath.common.file_io import HTTPURLHandler, PathHandler, PathManager, g_pathmgr, get_cache_dir

from tsn_tsm_plugin.errors import first_line

HANDLERS_GROUP = "tsn_tsm_plugin.path_handlers"
HUB_PREFIX = "hf://"

_FSSPEC_PREFIXES = [
    f"{name}://" for name in ("s3", "s3a", "gs", "gcs", "az", "abfs", "hdfs", "sftp", "memory")
]
# user/name, an optional @revision, an optional file.
_HUB_PATH = re.compile(r"(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<file>.+))?")


def manager_of(path: str | os.PathLike[str]) -> PathManager:
    """Return the path manager for a path: the program's if it knows the prefix, otherwise this package's."""
    text = os.fspath(path)
    if "://" not in text or any(text.startswith(prefix) for prefix in g_pathmgr._path_handlers):
        return g_pathmgr
    return _manager()


@functools.cache
def _manager() -> PathManager:
    # Use a separate manager, to avoid collisions with handlers in iopath's global manager.
    manager = PathManager()
    for handler in (_HttpHandler(), _HubHandler(), _FsspecHandler()):
        manager.register_handler(handler)
    for point in importlib.metadata.entry_points(group=HANDLERS_GROUP):
        manager.register_handler(point.load()())
    return manager


def upload_folder(folder: Path, path: str) -> None:
    """Copy the files of a local folder to a path of any storage.

    Args:
        folder: The folder; files in its subfolders are not copied.
        path: Target. A missing ``hf://USER/NAME`` is created as a private repository.

    Raises:
        OSError: If the storage refuses.
    """
    if path.startswith(HUB_PREFIX):
        _upload_to_hub(folder, path)
        return
    manager = manager_of(path)
    manager.mkdirs(path)
    for file in sorted(folder.iterdir()):
        with manager.open(f"{path}/{file.name}", "wb") as out:
            out.write(file.read_bytes())


def _upload_to_hub(folder: Path, path: str) -> None:
    repo, revision, file = _hub_parts(path)
    if file:
        raise OSError(f"{path} must be hf://USER/NAME, a repository without a file.")
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        api.create_repo(repo, exist_ok=True, private=True)
        api.upload_folder(
            repo_id=repo, folder_path=folder, revision=revision, commit_message="Upload model and card"
        )
    except Exception as error:
        raise OSError(f"{path}: the hub refused the upload ({first_line(error)}); hf auth login?") from error


class _HttpHandler(HTTPURLHandler):
    """Caches by the whole URL, so that files of the same name at two hosts stay separate."""

    def _get_local_path(
        self, path: str, force: bool = False, cache_dir: str | None = None, **kwargs: Any
    ) -> str:
        digest = hashlib.sha256(path.encode()).hexdigest()[:16]
        folder = Path(get_cache_dir(cache_dir), "tsn_tsm_plugin", digest)
        try:
            return str(super()._get_local_path(path, force=force, cache_dir=str(folder), **kwargs))
        except Exception as error:
            raise OSError(f"{path} cannot be downloaded ({first_line(error)})") from error


class _FsspecHandler(PathHandler):
    """Serves the URLs of fsspec's file systems."""

    def _get_supported_prefixes(self) -> list[str]:
        return _FSSPEC_PREFIXES

    def _get_local_path(self, path: str, force: bool = False, **_: Any) -> str:
        system, name = self._system(path)
        digest = hashlib.sha256(path.encode()).hexdigest()[:16]
        target = Path(get_cache_dir(), "tsn_tsm_plugin", digest, name.rstrip("/").rpartition("/")[2])
        if target.exists() and not force:
            return str(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as unfinished:
            copy = Path(unfinished, target.name)
            system.get(name, str(copy), recursive=system.isdir(name))
            copy.replace(target)
        return str(target)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **_: Any) -> IO[Any]:
        system, name = self._system(path)
        opened: IO[Any] = system.open(name, mode)
        return opened

    def _mkdirs(self, path: str, **_: Any) -> None:
        system, name = self._system(path)
        system.makedirs(name, exist_ok=True)

    @staticmethod
    def _system(path: str) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs

            system, name = url_to_fs(path)
        except ImportError as error:
            package = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs"}
            wanted = package.get(path.partition("://")[0], error.name or "fsspec")
            raise OSError(f"{path} needs one more package: pip install {wanted}") from error
        return system, str(name)


class _HubHandler(PathHandler):
    """Serves model repositories of the Hugging Face hub, ``hf://USER/NAME[@REVISION][/FILE]``."""

    def _get_supported_prefixes(self) -> list[str]:
        return [HUB_PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **_: Any) -> str:
        import huggingface_hub

        repo, revision, file = _hub_parts(path)
        options: dict[str, Any] = {
            "revision": revision,
            "endpoint": os.environ.get("HF_ENDPOINT"),
            "force_download": force,
        }
        try:
            if file:
                return str(huggingface_hub.hf_hub_download(repo, file, **options))
            return str(huggingface_hub.snapshot_download(repo, **options))
        except Exception as error:
            raise OSError(f"{path} cannot be fetched from the hub ({first_line(error)})") from error

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **_: Any) -> IO[Any]:
        if "r" not in mode:
            raise OSError(
                f"{path}: a repository takes whole folders, by tsn-tsm-publish --out hf://USER/NAME."
            )
        return Path(self._get_local_path(path)).open(mode)


def _hub_parts(path: str) -> tuple[str, str | None, str]:
    """Return repository, revision and file of a path on the hub."""
    match = _HUB_PATH.fullmatch(path.removeprefix(HUB_PREFIX).rstrip("/"))
    if match is None:
        raise OSError(f"{path} must be hf://USER/NAME, hf://USER/NAME@REVISION or one of these with /FILE.")
    return match["repo"], match["revision"], match["file"] or ""
