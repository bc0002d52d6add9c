"""read_torch_file: files of ``torch.save``, zip archives and the format before them, as data.

The checksum of every entry of an archive is compared, so that a changed bit anywhere is an error. Tensors lie
on the CPU. Sources: ``torch/serialization.py`` of PyTorch 0.4 to 2.14.
"""

import mmap
import pickle
import struct
import sys
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from tsn_tsm_plugin.checkpoints.pickle_machine import PickleMachine
from tsn_tsm_plugin.checkpoints.pickled_values import Storage, StorageType
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.paths import open_regular

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001


def read_torch_file(path: Path) -> Any:
    """Return the content of a file of ``torch.save``; no code of the file runs.

    Args:
        path: A regular file.

    Returns:
        Tensors, NumPy arrays, containers, numbers and text; a
        :class:`~tsn_tsm_plugin.checkpoints.stub.Stub` in place of any other object.

    Raises:
        CheckpointError: If the file is cut off, damaged or of another kind.
    """
    try:
        with open_regular(str(path)) as file:
            if file.read(2) == b"PK":
                with zipfile.ZipFile(file) as archive:
                    return _read_archive(archive, size=path.stat().st_size)
            return _read_legacy(file, size=path.stat().st_size)
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}") from error
    except Exception as error:  # A damaged file fails in many ways, and each of them means the same.
        reason = ascii(f"{type(error).__name__}: {error}".partition("\n")[0])[1:-1][:200]
        raise CheckpointError(
            f"{path} is cut off, damaged or not a PyTorch checkpoint ({reason}): fetch it again."
        ) from error


def _read_archive(archive: zipfile.ZipFile, *, size: int) -> Any:
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name.endswith("/data.pkl")]
    if any(name.endswith("/constants.pkl") for name in entries):
        raise CheckpointError(
            "is a TorchScript program, no checkpoint: save the state dict of its model with torch.save."
        )
    if len(pickles) != 1:
        raise CheckpointError("is a zip archive, but none of torch.save: give the checkpoint that is in it.")
    if len(entries) < len(archive.infolist()):
        raise pickle.UnpicklingError("two entries have one name")
    # torch.save neither compresses nor shares entries: no entry can grow beyond the size of the file.
    if sum(entry.file_size for entry in entries.values()) > size:
        raise pickle.UnpicklingError("its entries claim more bytes than the file has")
    if not any(entry.CRC for entry in entries.values()):
        for entry in entries.values():  # Written with torch.serialization.set_crc32_options(False).
            del entry.CRC
    prefix = pickles[0].removesuffix("data.pkl")
    is_swapped = _is_swapped(archive, entries.get(f"{prefix}byteorder"))
    storages: dict[str, Storage] = {}

    def load_storage(identifier: Any) -> Storage | None:
        parts = _storage_of(identifier)
        if parts is None:
            return None
        storage_type, key, num_elements = parts[:3]
        name = f"{prefix}data/{key}"
        if name not in storages:
            entry = entries.pop(name)
            if entry.file_size != num_elements * storage_type.dtype.itemsize:
                raise pickle.UnpicklingError(f"{name} has another length than its tensor")
            storages[name] = Storage(torch.UntypedStorage(entry.file_size), storage_type.dtype)
            _fill(storages[name], archive.read(entry), is_swapped=is_swapped)
        return Storage(storages[name].content, storage_type.dtype)

    result = PickleMachine(archive.read(entries.pop(pickles[0])), load_storage=load_storage).run()
    for entry in entries.values():  # Reading compares the checksum.
        archive.read(entry)
    return result


def _is_swapped(archive: zipfile.ZipFile, entry: zipfile.ZipInfo | None) -> bool:
    order = archive.read(entry).decode() if entry is not None and entry.file_size < 16 else "little"
    return order != sys.byteorder


def _storage_of(identifier: Any) -> tuple[StorageType, str, int, Any] | None:
    """Return type, key, number of elements and view of a storage; ``None`` for another identifier."""
    if not isinstance(identifier, tuple) or len(identifier) not in (5, 6) or identifier[0] != "storage":
        return None
    _, storage_type, key, _, num_elements, *view = identifier
    if not isinstance(storage_type, StorageType) or type(num_elements) is not int or num_elements < 0:
        return None
    return storage_type, str(key), num_elements, view[0] if view else None


def _fill(storage: Storage, data: bytes, *, is_swapped: bool) -> None:
    """Copy all bytes of a storage, and put them in the order of this machine."""
    if data:
        flat: Any = torch.empty(0, dtype=torch.uint8).set_(storage.content).numpy()
        memoryview(flat)[:] = data
    if is_swapped:
        storage.content.byteswap(storage.dtype)


def _read_legacy(file: IO[bytes], *, size: int) -> Any:
    """Read four pickles, the list of storages, and the storages."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[257:262] == b"ustar":
            raise CheckpointError(
                "is a tar archive, as PyTorch wrote before 0.1.10: save it again with a newer PyTorch."
            )
        if data[:1] != bytes([pickle.PROTO[0]]):
            raise pickle.UnpicklingError("it does not begin as torch.save does")
        if PickleMachine(data).run() != _MAGIC_NUMBER:
            raise CheckpointError("was not written by torch.save: give a file of torch.save or safetensors.")
        if PickleMachine(data).run() != _PROTOCOL_VERSION:
            raise pickle.UnpicklingError("its version is unknown")
        system = PickleMachine(data).run()
        is_little = not isinstance(system, dict) or system.get("little_endian", True) is True
        storages = _LegacyStorages(size)
        result = PickleMachine(data, load_storage=storages.load).run()
        keys = PickleMachine(data).run()
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages.roots):
            raise pickle.UnpicklingError("its list of tensors is not a list")
        position = data.tell()
        for key in keys:
            root = storages.roots[str(key)]
            (num_elements,) = struct.unpack_from("<q", data, position)
            start, length = position + 8, root.content.nbytes()
            if num_elements * root.dtype.itemsize != length or start + length > len(data):
                raise pickle.UnpicklingError("a tensor is cut off or has another length")
            _fill(root, data[start : start + length], is_swapped=is_little != (sys.byteorder == "little"))
            position = start + length
        return result


class _LegacyStorages:
    """Storages that are made when the pickle names them and filled after the pickle.

    Args:
        size: Bytes of the file; all storages together are at most that large.
    """

    def __init__(self, size: int) -> None:
        self.roots: dict[str, Storage] = {}
        self._left = size

    def load(self, identifier: Any) -> Any:
        """Return the storage, or the part of a storage, that a persistent identifier names."""
        if isinstance(identifier, tuple) and len(identifier) == 4 and identifier[0] == "module":
            return identifier[1]
        parts = _storage_of(identifier)
        if parts is None:
            return None
        storage_type, key, num_elements, view = parts
        if key not in self.roots:
            num_bytes = num_elements * storage_type.dtype.itemsize
            self._left -= num_bytes
            if self._left < 0:
                raise pickle.UnpicklingError("its tensors claim more bytes than the file has")
            self.roots[key] = Storage(torch.UntypedStorage(num_bytes), storage_type.dtype)
        root = self.roots[key]
        if view is None:
            return root
        _, offset, length = view
        itemsize = root.dtype.itemsize
        if not 0 <= offset <= offset + length <= root.content.nbytes() // itemsize:
            raise pickle.UnpicklingError("a part of a tensor lies outside of it")
        return Storage(root.content[offset * itemsize : (offset + length) * itemsize], root.dtype)
