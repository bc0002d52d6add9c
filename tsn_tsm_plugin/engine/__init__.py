"""Engine: training and evaluation of a recipe, in one process or on several ranks."""

from tsn_tsm_plugin.engine.evaluate import evaluate
from tsn_tsm_plugin.engine.interruption import EvaluationStopped, TrainingStopped
from tsn_tsm_plugin.engine.optimizer_step import OptimizerStep
from tsn_tsm_plugin.engine.setup import LoopOptions, TrainingSetup, build_training
from tsn_tsm_plugin.engine.train import profile, train
from tsn_tsm_plugin.engine.trainer import Hook, Trainer

__all__ = [
    "EvaluationStopped",
    "Hook",
    "LoopOptions",
    "OptimizerStep",
    "Trainer",
    "TrainingSetup",
    "TrainingStopped",
    "build_training",
    "evaluate",
    "profile",
    "train",
]
