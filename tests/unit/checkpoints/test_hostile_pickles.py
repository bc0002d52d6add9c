"""Pickles that try to run code, to fill the memory or to exhaust the stack: a canary must stay alive."""

import contextlib
import copyreg
import pickle
import pickletools
import random
import struct
import sys
import tracemalloc
import zipfile

import pytest
import torch

from tsn_tsm_plugin.checkpoints.pickle_machine import PickleMachine
from tsn_tsm_plugin.checkpoints.read_checkpoint import read_checkpoint
from tsn_tsm_plugin.checkpoints.stub import Stub
from tsn_tsm_plugin.errors import CheckpointError

REFUSED = (pickle.UnpicklingError, LookupError, ValueError, TypeError, struct.error)
CANARY = "canary_of_the_pickles"
FIRE = f"c{CANARY}\nfire\n".encode()
GETATTR = b"cbuiltins\ngetattr\n"

# Each program calls, makes or imports in another way; the modules are those that attackers use.
PROGRAMS = {
    "reduce": FIRE + b"(tR.",
    "reduce of builtins": b"cbuiltins\nexec\n(Vimport " + CANARY.encode() + b"\ntR.",
    "reduce of __builtin__": b"c__builtin__\neval\n(V__import__('" + CANARY.encode() + b"')\ntR.",
    "reduce of posix": b"cposix\nsystem\n(Vtouch code_has_run\ntR.",
    "inst": f"(i{CANARY}\nfire\n.".encode(),
    "obj": b"(" + FIRE + b"o.",
    "newobj": b"\x80\x02" + FIRE + b")\x81.",
    "newobj_ex": b"\x80\x04" + FIRE + b")}\x92.",
    "stack_global": b"\x80\x04\x8c" + bytes([len(CANARY)]) + CANARY.encode() + b"\x8c\x04fire\x93)R.",
    "global alone": FIRE + b".",
    "method of a global": GETATTR + b"(" + FIRE + b"V__call__\ntR(tR.",
    "method of a list": GETATTR + b"(]V__class__\ntR(tR.",
    "import_module": b"cimportlib\nimport_module\n(V" + CANARY.encode() + b"\ntR.",
    "build": b"c" + CANARY.encode() + b"\nFires\n)\x81}V__setstate__\n" + FIRE + b"sb.",
    "build of a dictionary": b"}}V__class__\n" + FIRE + b"sb.",
    "rebuild by a stub": b"ctorch._tensor\n_rebuild_from_type_v2\n(" + FIRE + FIRE + b")NtR.",
    "default factory": b"ccollections\ndefaultdict\n(" + FIRE + b"tR.",
    "persistent": b"P" + CANARY.encode() + b"\n.",
    "persistent object": FIRE + b"(tRQ.",
    "extension 1": b"\x80\x02\x82\xf0)R.",
    "extension 2": b"\x80\x02\x83\xf0\x00)R.",
    "extension 4": b"\x80\x02\x84\xf0\x00\x00\x00)R.",
    "copyreg": b"ccopyreg\n_reconstructor\n(" + FIRE + b"c__builtin__\nobject\nNtR.",
    "torch.load in torch": b"ctorch\nload\n(Va\ntR.",
    "numpy scalar of an object": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(VO8\ntRVabc\ntR.",
}


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A module that leaves a file when it is imported, and another when it is called."""
    module = tmp_path / "modules" / f"{CANARY}.py"
    module.parent.mkdir()
    module.write_text(
        "from pathlib import Path\nPath('code_has_run').touch()\n\n"
        "def fire(*args):\n    Path('code_has_run').touch()\n\n"
        "class Fires:\n    def __setstate__(self, state):\n        fire()\n"
    )
    monkeypatch.syspath_prepend(str(module.parent))
    monkeypatch.chdir(tmp_path)
    copyreg.add_extension(CANARY, "fire", 0xF0)
    yield tmp_path / "code_has_run"
    copyreg.remove_extension(CANARY, "fire", 0xF0)
    sys.modules.pop(CANARY, None)


def read_as_all_formats(program: bytes, folder) -> list[object]:
    """Read a pickle as a zip file, as a legacy file's object, and as each of its other pickles."""
    legacy = [pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    files = {"a.pth": b"".join([*legacy, program, pickle.dumps([], 2)]), "plain.pth": program}
    for position in range(3):
        files[f"legacy_{position}.pth"] = b"".join([*legacy[:position], program, *legacy[position:]])
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with zipfile.ZipFile(folder / "zip.pth", "w") as archive:
        archive.writestr("a/data.pkl", program)
    outcomes: list[object] = []
    for name in (*files, "zip.pth"):
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(folder / name)
        outcomes.append(str(caught.value))
    return outcomes


def test_the_canary_dies_of_pythons_own_machine(canary):
    pickle.loads(PROGRAMS["reduce"])

    assert canary.exists()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_hostile_pickle_runs_nothing_and_is_an_error_that_proposes_nothing(tmp_path, canary, name):
    messages = read_as_all_formats(PROGRAMS[name], tmp_path)

    assert not canary.exists()
    assert CANARY not in sys.modules
    assert all("allow" not in message and "weights_only" not in message for message in messages)
    assert all(len(message.splitlines()) == 1 for message in messages)


def test_a_hostile_object_beside_good_weights_stays_a_stub(tmp_path, canary):
    class Hostile:
        def __reduce__(self):
            return exec, (f"import {CANARY}",)

    torch.save({"state_dict": {"w": torch.ones(2)}, "meta": Hostile()}, tmp_path / "a.pth")

    checkpoint = read_checkpoint(tmp_path / "a.pth")

    assert checkpoint.state_dict["w"].tolist() == [1, 1]
    assert isinstance(checkpoint.metadata["meta"], Stub)
    assert not canary.exists()


def test_every_instruction_of_every_protocol_is_known_or_refused(canary):
    values = [1, -7, 2**70, -(2**2100), 0.5, "ü\n", b"\0\xff", bytearray(b"a"), None, True, False, (), [], {}]
    values += [set(), {1}, frozenset([2]), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {"a": [1]}, 1j, [1, [2]]]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert PickleMachine(pickle.dumps(values, protocol)).run() == values
    for opcode in pickletools.opcodes:
        code = opcode.code.encode("latin1")
        for before in (b"", b"(", b"]", FIRE, b"(" + FIRE, FIRE + b"(" + FIRE + b"t", FIRE + b"}" + FIRE):
            for after in (b"", b"\x01", CANARY.encode() + b"\nfire\n", b"\x05\0\0\0\0\0\0\0abcde"):
                with contextlib.suppress(*REFUSED):
                    PickleMachine(before + code + after + b")R.").run()
    assert not canary.exists()


def test_an_instruction_of_a_later_python_is_unknown():
    known = {ord(opcode.code) for opcode in pickletools.opcodes if opcode.proto <= 5}
    assert set(PickleMachine.dispatch) == known - {pickle.NEXT_BUFFER[0]}
    with pytest.raises(LookupError):
        PickleMachine(b"N\xff.").run()


def test_mutated_pickles_run_nothing_and_end(tmp_path, canary):
    torch.save({"state_dict": {"w": torch.ones(2), "v": torch.ones(3)}, "epoch": 1}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        whole = archive.read("a/data.pkl")
    draw = random.Random(0)
    for _ in range(1500):
        program = bytearray(whole)
        for _ in range(draw.choice([1, 2, 8])):
            program[draw.randrange(len(program))] = draw.randrange(256)
        offset = draw.randrange(len(program))
        program[offset:offset] = draw.choice([b"", FIRE + b")R", b"(", b"0", b"Q", b"b"])
        with contextlib.suppress(*REFUSED):
            PickleMachine(bytes(program)).run()
    assert not canary.exists()


# Programs that ask for much with few bytes.
BOMBS = {
    "memo index": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc.",
    "text": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"abc.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.",
    "long": b"\x80\x02\x8b\xff\xff\xff\x7fabc.",
    "digits": b"I" + b"9" * 100_000 + b"\n.",
    "bytearray of a number": b"cbuiltins\nbytearray\n(I1000000000000\ntR.",
    "list of a stub": b"cbuiltins\nlist\n(cbuiltins\nrange\n(I1000000000000\ntRtR.",
    "deep lists": b"(l" * 50_000 + b"a" * 49_999 + b".",
    "deep tuples": b")" + b"\x85" * 100_000 + b".",
    "deep tuple as a key": b"})" + b"\x85" * 100_000 + b"Ns.",
    "wide tuple as a key": b"}(I1\ntq\0" + b"".join(b"(" + b"h\0" * 90 + b"tq\0" for _ in range(9)) + b"Ns.",
    "deep stubs": b"N" + b"Q" * 50_000 + b".",
    "marks": b"(" * 100_000 + b".",
    "numpy array": b"cnumpy.core.multiarray\n_reconstruct\n(tR(I1\n(I999999999999\ntcnumpy\ndtype\n"
    b"(Vf8\ntRI00\nVabc\ntb.",
    "numpy type": b"cnumpy\ndtype\n(VS999999\ntR.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_few_bytes_never_ask_for_much_memory_or_stack(name):
    tracemalloc.start()
    with contextlib.suppress(*REFUSED):
        PickleMachine(BOMBS[name]).run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 500 * len(BOMBS[name]) + 2**20


def zip_with(folder, **entries: bytes):
    path = folder / "a.pth"
    torch.save({"w": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content.update({f"a/{name.replace('_', '.')}": value for name, value in entries.items()})
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return path


def tensor_program(size: str, stride: str, *, numel: int = 4) -> bytes:
    storage = f"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI{numel}\ntQ".encode()
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
    return b"}Vw\n" + rebuild + storage + f"I0\n({size}t({stride}tI00\nNtRs.".encode()


@pytest.mark.parametrize(
    ("size", "stride"),
    [
        ("I9\n", "I1\n"),  # beyond the storage
        ("I1000000000000\n", "I0\n"),  # one element for all
        ("I4\n", "I2\n"),
        ("I-4\n", "I1\n"),
        ("I2\nI2\n", "I1\n"),
    ],
)
def test_a_tensor_never_claims_more_than_its_storage(tmp_path, size, stride):
    path = zip_with(tmp_path, data_pkl=tensor_program(size, stride))

    with pytest.raises(CheckpointError, match=r"holds no state dict|values that are not tensors"):
        read_checkpoint(path)


def test_a_tensor_of_its_storage_is_read(tmp_path):
    path = zip_with(tmp_path, data_pkl=tensor_program("I2\nI2\n", "I2\nI1\n"))

    assert read_checkpoint(path).state_dict["w"].shape == (2, 2)


def test_a_storage_of_another_length_is_damage(tmp_path):
    path = zip_with(tmp_path, data_pkl=tensor_program("I4\n", "I1\n", numel=10**12))

    with pytest.raises(CheckpointError, match="another length than its tensor"):
        read_checkpoint(path)


def test_entries_that_claim_more_than_the_file_are_not_unfolded(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"N." + bytes(10_000_000))

    with pytest.raises(CheckpointError, match="claim more bytes than the file has"):
        read_checkpoint(path)


def test_storages_of_a_legacy_file_are_no_larger_than_the_file(tmp_path):
    legacy = [pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI1000000000000\nNtQ"
    (tmp_path / "a.pth").write_bytes(
        b"".join([*legacy, b"\x80\x02" + storage + b".", pickle.dumps(["0"], 2)])
    )

    with pytest.raises(CheckpointError, match="claim more bytes than the file has"):
        read_checkpoint(tmp_path / "a.pth")
