"""TrainedModel, load_trained, frame_features: a trained network with its preprocessing and class names."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import torch
import yaml
from torch import Tensor, nn

from tsn_tsm_plugin.checkpoints.metadata import carried_class_names
from tsn_tsm_plugin.checkpoints.read_checkpoint import Checkpoint
from tsn_tsm_plugin.checkpoints.zoo import PREFIX
from tsn_tsm_plugin.config import CfgNode, load_cfg
from tsn_tsm_plugin.config.load import load_carried_cfg
from tsn_tsm_plugin.config.recipes import find_recipe
from tsn_tsm_plugin.config.yaml_text import compose
from tsn_tsm_plugin.data.annotations import read_label_map
from tsn_tsm_plugin.engine.device import compute_device
from tsn_tsm_plugin.engine.find_weights import read_weights
from tsn_tsm_plugin.errors import CheckpointError, VideoError, first_line
from tsn_tsm_plugin.inference.preprocessing import Preprocessing
from tsn_tsm_plugin.inference.video_predictor import (
    Predictions,
    VideoPrediction,
    VideoPredictor,
    find_videos,
    top_classes,
)
from tsn_tsm_plugin.layers.memory_format import to_channels_last
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.models import build_model, load_weights
from tsn_tsm_plugin.models.checkpoint_attributes import RECIPE
from tsn_tsm_plugin.paths import join, local_path
from tsn_tsm_plugin.runs.progress import with_bar

logger = get_logger(__name__)


@dataclass(frozen=True, repr=False)
class TrainedModel:
    """A trained network, ready for inference.

    ``predict`` classifies videos, ``features`` returns their features; a call returns the logits of clips.

    Attributes:
        model: Module in eval mode on ``device``: (B, 3, T, H, W) float -> (B, K) logits.
        cfg: The recipe of the network.
        class_names: Names of the K classes.
        weights: The given file, or the file found in the given folder.
        device: Device of the model.
    """

    model: nn.Module
    cfg: CfgNode
    class_names: list[str]
    weights: str
    device: torch.device

    @functools.cached_property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing of video files to the network's input, by the recipe."""
        return Preprocessing(self.cfg, self.device)

    @functools.cached_property
    def predictor(self) -> VideoPredictor:
        """Predictor of videos with the views of the recipe."""
        return VideoPredictor(self.model, self.cfg, self.preprocessing, self.class_names)

    def __repr__(self) -> str:
        return f"TrainedModel({self.description}; weights={self.weights}, device={self.device})"

    def __call__(self, video_BCTHW: Tensor) -> Tensor:
        """Return the logits (B, K) of clips.

        Args:
            video_BCTHW: Clips (B, 3, T, H, W): uint8 RGB, which this call normalises, or normalised floats.
        """
        with torch.inference_mode():
            logits: Tensor = self.model(self._normalized(video_BCTHW))
        return logits

    @overload
    def predict(  # type: ignore[overload-overlap]  # A str is a sequence of str too; the first wins.
        self, videos: str | Path, *, batch_size: int = ...
    ) -> VideoPrediction: ...
    @overload
    def predict(self, videos: Sequence[str | Path], *, batch_size: int = ...) -> Predictions: ...

    def predict(
        self, videos: str | Path | Sequence[str | Path], *, batch_size: int = 1
    ) -> VideoPrediction | Predictions:
        """Classify one or several videos with the test views of the recipe.

        Args:
            videos: A file or a URL; or a list of files, URLs, folders and patterns such as ``"clips/*.mp4"``.
            batch_size: Videos that go through the network together.

        Returns:
            The prediction, or a list of predictions; in a list, unreadable videos have an ``error``.

        Raises:
            VideoError: If a single video cannot be read, or a folder or pattern matches no videos.
            ValueError: If ``batch_size`` is less than 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        if isinstance(videos, str | Path):
            prediction = self.predictor(str(videos))
            if prediction.error:
                raise VideoError(prediction.error)
            return prediction
        paths = [path for name in map(str, videos) for path in _videos_of(name)]
        found = self.predictor.predict(paths, batch_size=batch_size)
        return Predictions(with_bar(found, "predict", total=len(paths), shown=len(paths) > 1))

    def features(self, video: str | Path | Tensor, *, of: str = "clip") -> Tensor:
        """Return the features before the classifier, averaged over space, on the CPU.

        Args:
            video: A file or URL, of which the middle test view is read; or clips (B, 3, T, H, W).
            of: ``"clip"``: the mean over the frames; ``"frame"``: the features of each frame.

        Returns:
            (C,) or (T, C) for a file; (B, C) or (B, T, C) for clips.

        Raises:
            VideoError: If the video cannot be read.
            ValueError: If ``of`` is unknown.
        """
        if of not in ("clip", "frame"):
            raise ValueError(f"of must be 'clip' or 'frame', got {of!r}.")
        if not isinstance(video, Tensor):
            view = self.preprocessing.read_view(str(video), split="test")
            return self.features(view.clip[None], of=of)[0]
        with torch.inference_mode():
            maps_BCTHW = frame_features(self.model, self._normalized(video))
        features = maps_BCTHW.mean((3, 4)).transpose(1, 2).float().cpu()
        return features.mean(1) if of == "clip" else features

    def _normalized(self, video_BCTHW: Tensor) -> Tensor:
        on_device = video_BCTHW.to(self.device)
        return self.preprocessing.normalize(on_device) if on_device.dtype == torch.uint8 else on_device

    @property
    def description(self) -> str:
        """Description of the network in one line."""
        describe = getattr(self.model, "describe", None)
        return describe() if callable(describe) else type(self.model).__name__

    def probabilities(self, logits: Tensor) -> Tensor:
        """Map logits (..., K) to probabilities; sigmoid for several labels, softmax otherwise."""
        return logits.sigmoid() if self.cfg.DATA.MULTI_LABEL else logits.softmax(-1)

    def top(self, probabilities: Tensor, count: int = 5) -> list[tuple[str, float]]:
        """Return the ``count`` most likely classes of (K,) with their probabilities, in descending order."""
        return top_classes(probabilities, self.class_names, count)


def frame_features(model: nn.Module, video_BCTHW: Tensor) -> Tensor:
    """Return the last feature map of each frame, (B, C', T, h, w), of a normalised clip.

    Args:
        model: A TSN or TSM.
        video_BCTHW: Normalised clips (B, 3, T, H, W).
    """
    frames = video_BCTHW.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    features: Tensor = model.get_submodule("backbone")(frames)
    return features.unflatten(0, (len(video_BCTHW), -1)).transpose(1, 2)


def _videos_of(name: str) -> list[str]:
    """Return the videos of a name; keep the name of a missing file, so that reading reports the error."""
    is_pattern = any(sign in name for sign in "*?[")
    return find_videos([name]) if is_pattern or Path(name).is_dir() else [name]


def load_trained(
    weights: str | Path,
    *,
    recipe: str = "",
    labels: str = "",
    opts: Sequence[str] = (),
    device: torch.device | None = None,
    which: str = "last",
) -> TrainedModel:
    """Load a trained network from weights; weights of other libraries also need a recipe.

    Example:
        >>> from tsn_tsm_plugin import create_tsm
        >>> from tsn_tsm_plugin.config import get_cfg
        >>> cfg = get_cfg()
        >>> cfg.MODEL.update(BACKBONE="resnet18", NUM_CLASSES=2)
        >>> model = create_tsm(backbone="resnet18", num_classes=2)
        >>> names = ["opening", "closing"]
        >>> checkpoint = {"model_state": model.state_dict(), "config": cfg.dump(), "class_names": names}
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> torch.save(checkpoint, f"{folder.name}/best.pt")
        >>> trained = load_trained(f"{folder.name}/best.pt")
        >>> trained.class_names
        ['opening', 'closing']
        >>> [name for name, _ in trained.top(torch.tensor([0.2, 0.8]))]
        ['closing', 'opening']

    Args:
        weights: A checkpoint, a ``.safetensors`` file, a run folder or a folder of ``tsn-tsm-publish``; any
            path that iopath can open.
        recipe: YAML file; empty: the recipe in the checkpoint.
        labels: File with one class name per line; empty: the names in the checkpoint, otherwise the recipe's
            label map if it exists, otherwise numbers.
        opts: Overrides of the recipe.
        device: Device of the network; ``None``: the GPU if available.
        which: Weights of a run folder: ``"last"`` (the newest) or ``"best"``, see
            :func:`~tsn_tsm_plugin.engine.find_weights.list_weights`.

    Raises:
        CheckpointError: If the weights cannot be read or do not fit, or no recipe is available.
    """
    if str(weights).startswith(PREFIX):  # Zoo weights and their recipe have one name.
        recipe = recipe or find_recipe(str(weights).removeprefix(PREFIX))
    checkpoint = read_weights(weights, which=which)
    cfg = load_cfg(recipe, opts) if recipe else _carried_cfg(checkpoint, opts)
    model = build_model(cfg, with_backbone_weights=False)
    load_weights(model, checkpoint, allow_mismatch=cfg.TRAIN.CHECKPOINT_ALLOW_MISMATCH, words=RECIPE)
    device = device or compute_device()
    names = _class_names(cfg, checkpoint, labels)
    logger.info(f"{model.describe()}; weights: {checkpoint.path}")
    return TrainedModel(to_channels_last(model).to(device).eval(), cfg, names, checkpoint.path, device)


def _carried_cfg(checkpoint: Checkpoint, opts: Sequence[str]) -> CfgNode:
    text = checkpoint.metadata.get("config", "")
    if not isinstance(text, str):
        raise _unreadable(checkpoint, "recipe", "it is no text")
    if not text:
        raise CheckpointError(
            f"{checkpoint.path} contains no recipe: give the recipe with --cfg, e.g. "
            "--cfg projects/tsm/k400_r50_8f.yaml."
        )
    try:
        is_recipe = isinstance(compose(text), yaml.MappingNode)
    except (yaml.YAMLError, TypeError) as error:
        raise _unreadable(checkpoint, "recipe", error) from error
    if not is_recipe:
        raise _unreadable(checkpoint, "recipe", "it is no mapping of keys")
    # Mismatches that training allows are not allowed in inference.
    opts = ["TRAIN.CHECKPOINT_ALLOW_MISMATCH", "[]", *opts]
    return load_carried_cfg(text, f"the recipe in {checkpoint.path}", opts)


def _unreadable(checkpoint: Checkpoint, part: str, reason: object) -> CheckpointError:
    return CheckpointError(
        f"The {part} that {checkpoint.path} carries cannot be read ({first_line(reason)}): give another "
        "with --cfg or --labels, or take the file from its source again."
    )


def _class_names(cfg: CfgNode, checkpoint: Checkpoint, labels: str) -> list[str]:
    names = [] if labels else carried_class_names(checkpoint)
    recipe_map = join(cfg.DATA.PATH_TO_DATA_DIR, cfg.DATA.LABEL_MAP)
    if labels:
        names = read_label_map(labels)
    elif not names and cfg.DATA.LABEL_MAP and _is_at_hand(recipe_map):
        names = read_label_map(recipe_map)
    elif not names:
        names = [str(label) for label in range(cfg.MODEL.NUM_CLASSES)]
    if len(names) != cfg.MODEL.NUM_CLASSES:
        raise CheckpointError(
            f"There must be a name for each of the MODEL.NUM_CLASSES = {cfg.MODEL.NUM_CLASSES} classes, got "
            f"{len(names)} ({labels or recipe_map}). Give the right file with --labels."
        )
    return names


def _is_at_hand(path: str) -> bool:
    try:
        return Path(local_path(path)).is_file()
    except OSError:
        return False
