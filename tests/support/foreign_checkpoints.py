"""save_foreign: write checkpoints of other libraries, with doubles of their classes during the writing."""

import contextlib
import datetime
import sys
import types
from argparse import Namespace
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class HistoryBuffer:
    """Double of mmengine's class: two arrays, and functions of the class, which pickle by ``getattr``."""

    def __init__(self) -> None:
        self.max_length = 1000000
        self._log_history = np.array([0.5, 0.25])
        self._count_history = np.array([1, 1])
        self._statistics_methods = {"mean": HistoryBuffer.mean}

    def mean(self) -> float:
        return 0.0


class ConfigDict(dict):
    """Double of mmengine's and Lightning's class: a dictionary with attributes."""

    def __setstate__(self, state: object) -> None:
        raise AssertionError("a class of the file was used")


class Priority:
    """Double of mmcv's class: pickled as a call of the class with its value."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def __reduce__(self) -> tuple:
        return Priority, (self.value,)


class ZeroStageEnum:
    """Double of DeepSpeed's class."""


_HOMES = {
    HistoryBuffer: "mmengine.logging.history_buffer",
    ConfigDict: "mmengine.config.config",
    Priority: "mmcv.runner.priority",
    ZeroStageEnum: "deepspeed.runtime.zero.config",
}


@contextlib.contextmanager
def _installed() -> Iterator[None]:
    """Make the doubles importable under the names of the original classes."""
    before = dict(sys.modules)
    for double, home in _HOMES.items():
        parts = home.split(".")
        for length in range(1, len(parts) + 1):
            name = ".".join(parts[:length])
            sys.modules.setdefault(name, types.ModuleType(name))
        setattr(sys.modules[home], double.__name__, double)
        double.__module__ = home
    try:
        yield
    finally:
        for double in _HOMES:
            double.__module__ = __name__
        for name in set(sys.modules) - set(before):
            del sys.modules[name]


def _prefixed(tensors: dict[str, Tensor], prefix: str) -> OrderedDict[str, Tensor]:
    return OrderedDict((prefix + name, value) for name, value in tensors.items())


def _zeroed(tensors: dict[str, Tensor]) -> OrderedDict[str, Tensor]:
    return OrderedDict((name, torch.zeros_like(value)) for name, value in tensors.items())


def _mmaction2_1x(tensors: dict[str, Tensor]) -> dict:
    return {
        "meta": {
            "epoch": 1,
            "iter": 20,
            "cfg": "model = dict(backbone=dict(num_segments=8, shift_div=8))",
            "seed": 1,
            "mmengine_version": "0.10.4",
            "dataset_meta": ConfigDict(classes=("a", "b")),
        },
        "state_dict": OrderedDict(tensors),
        "message_hub": {
            "log_scalars": OrderedDict({"train/loss": HistoryBuffer(), "val/acc": HistoryBuffer()}),
            "runtime_info": OrderedDict({"best_score": np.float64(0.5), "loop_stage": "train"}),
            "resumed_keys": OrderedDict({"train/loss": True}),
        },
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.01}]},
        "param_schedulers": [{"last_step": 1, "_get_lr": Priority(3)}],
    }


def _mmaction2_0x(tensors: dict[str, Tensor]) -> dict:
    hook_msgs = {"best_score": np.float64(0.75), "best_ckpt": "best_top1_acc_epoch_5.pth", "at": Priority(50)}
    meta = {"mmaction_version": "0.24.1", "hook_msgs": hook_msgs, "CLASSES": None, "env": ConfigDict(a=1)}
    return {"meta": meta, "state_dict": OrderedDict(tensors)}


def _lightning(tensors: dict[str, Tensor]) -> dict:
    return {
        "epoch": 1,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": OrderedDict({**_prefixed(tensors, "model."), "criterion.weight": torch.ones(8)}),
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "hyper_parameters": ConfigDict(lr=0.1, path=Path("runs"), args=Namespace(depth=18)),
        "datetime": datetime.datetime(2024, 1, 1),
    }


def _timm(tensors: dict[str, Tensor]) -> dict:
    args = Namespace(model="resnet18", data=Path("/data"))
    return {
        "arch": "r18",
        "args": args,
        "state_dict": _zeroed(tensors),
        "state_dict_ema": OrderedDict(tensors),
    }


def _deepspeed(tensors: dict[str, Tensor]) -> dict:
    return {
        "module": _prefixed(tensors, "module."),
        "zero_stage": ZeroStageEnum(),
        "param_shapes": [OrderedDict({"w": torch.Size([2, 3])})],
        "ds_config": defaultdict(list, {"a": [1]}),
    }


def _averaged(tensors: dict[str, Tensor]) -> dict:
    return {"model": {"n_averaged": torch.tensor(3), **_prefixed(tensors, "module.")}}


def _mmcv_averaged(tensors: dict[str, Tensor]) -> dict:
    copies = {"ema_" + name.replace(".", "_"): value for name, value in _zeroed(tensors).items()}
    beside = {"data_preprocessor.mean": torch.ones(3), "cls_head.loss_cls.class_weight": torch.ones(8)}
    return {"state_dict": {**tensors, **copies, **beside}}


def _lightning_averaged(tensors: dict[str, Tensor]) -> dict:
    averaged = {"ema_model.n_averaged": torch.tensor(3), **_prefixed(tensors, "ema_model.module.")}
    return {"state_dict": {**_prefixed(_zeroed(tensors), "model."), **averaged}}


def _with_prefix(prefix: str) -> Callable[[dict[str, Tensor]], dict]:
    return lambda tensors: {"state_dict": _prefixed(tensors, prefix)}


def _inside(name: str) -> Callable[[dict[str, Tensor]], dict]:
    return lambda tensors: {key.replace(".layer1.", f".layer1.{name}."): v for key, v in tensors.items()}


def _parallel_parts(tensors: dict[str, Tensor]) -> dict:
    parts = {name.replace("base_model.", "base_model.module._orig_mod."): v for name, v in tensors.items()}
    return {"weights": _prefixed(parts, "module."), "epoch": 3}


def _parameters(tensors: dict[str, Tensor]) -> dict:
    return {
        name: torch.nn.Parameter(value) if value.is_floating_point() else value
        for name, value in tensors.items()
    }


FOREIGN: dict[str, Callable[[dict[str, Tensor]], dict]] = {
    "MMAction2 1.2 epoch_1": _mmaction2_1x,
    "MMAction2 0.x best": _mmaction2_0x,
    "Lightning": _lightning,
    "timm with EMA": _timm,
    "DeepSpeed": _deepspeed,
    "AveragedModel": _averaged,
    "FSDP": _inside("_fsdp_wrapped_module"),
    "FSDP with activation checkpoints": _inside("_checkpoint_wrapped_module._orig_mod"),
    "DDP of compiled": _with_prefix("module._orig_mod."),
    "compiled DDP": _with_prefix("_orig_mod.module."),
    "Lightning of compiled DDP": _with_prefix("model._orig_mod.module."),
    "compiled DDP twice": _with_prefix("module._orig_mod.module."),
    "parallel parts under weights": _parallel_parts,
    "parameters": _parameters,
    "MMCV with EMA": _mmcv_averaged,
    "Lightning with EMA": _lightning_averaged,
    "holder of any name": _with_prefix("recognizer."),
}
"""How each kind of file is made of tensors by name."""


def save_foreign(kind: str, tensors: dict[str, Tensor], path: Path, *, is_zip: bool = True) -> Path:
    """Write the tensors as the library would, in one of the two formats of ``torch.save``."""
    with _installed():
        torch.save(FOREIGN[kind](tensors), path, _use_new_zipfile_serialization=is_zip)
    return path
