"""combine: the weighted mean of the scores of several models or streams."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tsn_tsm_plugin.evaluation.predictions import Predictions
from tsn_tsm_plugin.evaluation.views import average_views


def combine(members: Sequence[Predictions], *, coefficients: Sequence[float], how: str) -> Predictions:
    """Average the members' scores.

    Example:
        >>> def scored(probabilities):
        ...     scores = torch.tensor([probabilities]).log()
        ...     return Predictions(torch.tensor([0]), ["a.mp4"], torch.tensor([1]), scores, scores[:, None])
        >>> both = combine([scored([0.6, 0.4]), scored([0.1, 0.9])], coefficients=[2, 1], how="probabilities")
        >>> both.scores.round(decimals=4).tolist()
        [[0.4333, 0.5667]]

    Args:
        members: Predictions of the same videos, matched by name; the numbers of views may differ.
        coefficients: One number for each member; the sum need not be 1.
        how: Average over each member's views: ``"probabilities"``, ``"logits"`` or ``"sigmoids"`` (several
            labels). Members of different kinds only compare as probabilities.

    Returns:
        Predictions in the first member's order. Their only view holds the logits of the ensemble's scores, so
        that ensembles can be nested.

    Raises:
        ValueError: If the numbers of coefficients and members differ, if videos, labels or classes differ, or
            if a member has a video twice.
    """
    if len(coefficients) != len(members):
        raise ValueError(
            f"There must be one coefficient for each of {len(members)} dumps, got {len(coefficients)}."
        )
    if not 0 < sum(coefficients) < math.inf:
        raise ValueError(f"The coefficients must add up to more than 0, got {list(coefficients)}.")
    first = members[0]
    if (first.label.ndim == 2) != (how == "sigmoids"):
        raise ValueError(
            "Videos with several labels, and only they, are averaged as sigmoids; got "
            f"{how!r} for videos with {'several labels' if first.label.ndim == 2 else 'one label'}."
        )
    total = torch.zeros_like(first.scores, dtype=torch.float64)
    for number, (member, weight) in enumerate(zip(members, coefficients, strict=True), start=1):
        order = _order_as(first, member, number)
        total += weight * average_views(member.view_logits.double(), how=how)[order]
    scores = total / sum(coefficients)
    return Predictions(
        first.video_index, first.video_name, first.label, scores, _logits(scores, how=how)[:, None]
    )


def _logits(scores: Tensor, *, how: str) -> Tensor:
    """Return logits from which :func:`average_views` computes ``scores``."""
    tiny = torch.finfo(scores.dtype).eps
    if how == "sigmoids":
        return scores.logit(eps=tiny)
    return scores.clamp_min(tiny).log() if how == "probabilities" else scores


def _order_as(first: Predictions, other: Predictions, number: int) -> list[int]:
    """Return the index in ``other`` of each video of ``first``."""
    if other.scores.shape[1] != first.scores.shape[1]:
        raise ValueError(
            f"All dumps must have the same classes: the first has {first.scores.shape[1]}, number {number} "
            f"has {other.scores.shape[1]}."
        )
    positions = {name: position for position, name in enumerate(other.video_name)}
    if len(positions) != len(other):
        twice = next(name for position, name in enumerate(other.video_name) if positions[name] != position)
        raise ValueError(
            f"Videos are matched by name, so each must come once: number {number} has {twice} twice."
        )
    missing = [name for name in first.video_name if name not in positions]
    if missing or len(positions) > len(first):
        extra = [name for name in positions if name not in set(first.video_name)]
        raise ValueError(
            f"All dumps must be of the same videos: number {number} lacks {len(missing)} of the first's and "
            f"has {len(extra)} others ({', '.join([*missing, *extra][:3])})."
        )
    order = [positions[name] for name in first.video_name]
    if not torch.equal(other.label[order], first.label):
        raise ValueError(f"All dumps must have the same labels; dump {number} differs from the first.")
    return order
