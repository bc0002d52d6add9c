"""Training and evaluation of a recipe, in this process or as one of several ranks."""

from tsn_tsm_plugin.engine.evaluate import evaluate
from tsn_tsm_plugin.engine.interruption import EvaluationStopped, TrainingStopped
from tsn_tsm_plugin.engine.train import train

__all__ = ["EvaluationStopped", "TrainingStopped", "evaluate", "train"]
