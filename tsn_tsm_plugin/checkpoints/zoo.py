"""ZOO, is_fetched, fetch_zoo_file: checkpoints published by MMAction2, by recipe name.

Sources: the tables of https://github.com/open-mmlab/mmaction2, configs/recognition/tsn and tsm. The last
eight digits of a file name begin the SHA-256 of the file.
"""

import difflib
import re
from pathlib import Path

from tsn_tsm_plugin.checkpoints.download import download
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.paths import is_url

PREFIX = "zoo:"
_SITE = "https://download.openmmlab.com/mmaction"
# Folder of each method, and how the names of its files begin.
_ROOTS = {
    "tsn": (f"{_SITE}/v1.0/recognition/tsn", "tsn_imagenet-pretrained-"),
    "tsm": (f"{_SITE}/recognition/tsm", "tsm_"),
}
# File of each recipe: the rest of its name, without .pth.
_FILES = {
    "tsm/diving48_r50_16f": "r50_video_1x1x16_50e_diving48_rgb_20210426-aa9631c0",
    "tsm/diving48_r50_8f": "r50_video_1x1x8_50e_diving48_rgb_20210426-aba5aa3d",
    "tsm/jester_r50_8f": "r50_1x1x8_50e_jester_rgb-c799267e",
    "tsm/k400_mobilenetv2_8f_dense": "mobilenetv2_dense_320p_1x1x8_100e_kinetics400_rgb_20210202-61135809",
    "tsm/k400_r50_16f": "r50_256p_1x1x16_50e_kinetics400_rgb_20201010-85645c2a",
    "tsm/k400_r50_16f_340x256": "r50_340x256_1x1x16_50e_kinetics400_rgb_20201011-2f27f229",
    "tsm/k400_r50_8f": "r50_video_1x1x8_100e_kinetics400_rgb_20200702-a77f4328",
    "tsm/k400_r50_8f_256p": "r50_256p_1x1x8_50e_kinetics400_rgb_20200726-020785e2",
    "tsm/k400_r50_8f_340x256": "r50_1x1x8_50e_kinetics400_rgb_20200607-af7fb746",
    "tsm/k400_r50_8f_dense": "r50_dense_256p_1x1x8_100e_kinetics400_rgb_20200727-e1e0c785",
    "tsm/k400_r50_8f_dense_340x256": "r50_dense_1x1x8_100e_kinetics400_rgb_20200626-91a54551",
    "tsm/k400_r50_8f_gpu_normalize": "r50_gpu_normalize_1x1x8_50e_kinetics400_rgb_20210219-bf96e6cc",
    "tsm/k400_r50_8f_nl_dot_product": "nl_dot_product_r50_1x1x8_50e_kinetics400_rgb_20200724-d8ad84d2",
    "tsm/k400_r50_8f_nl_embedded_gaussian": (
        "nl_embedded_gaussian_r50_1x1x8_50e_kinetics400_rgb_20200724-f00f1336"
    ),
    "tsm/k400_r50_8f_nl_gaussian": "nl_gaussian_r50_1x1x8_50e_kinetics400_rgb_20200816-b93fd297",
    "tsm/sthv1_r101_8f": "r101_1x1x8_50e_sthv1_rgb_20201010-43fedf2e",
    "tsm/sthv1_r50_16f": "r50_1x1x16_50e_sthv1_rgb_20201010-17fa49f6",
    "tsm/sthv1_r50_8f": "r50_1x1x8_50e_sthv1_rgb_20210203-01dce462",
    "tsm/sthv1_r50_8f_cutmix": "r50_cutmix_1x1x8_50e_sthv1_rgb-34934615",
    "tsm/sthv1_r50_8f_flip": "r50_flip_1x1x8_50e_sthv1_rgb_20210203-12596f16",
    "tsm/sthv1_r50_8f_flip_randaug": "r50_flip_randaugment_1x1x8_50e_sthv1_rgb_20210324-76937692",
    "tsm/sthv1_r50_8f_mixup": "r50_mixup_1x1x8_50e_sthv1_rgb-9eca48e5",
    "tsm/sthv1_r50_8f_randaug": "r50_randaugment_1x1x8_50e_sthv1_rgb_20210324-481268d9",
    "tsm/sthv2_r101_8f": "r50_256h_1x1x8_50e_sthv2_rgb_20210401-df97f3e1",
    "tsm/sthv2_r101_8f_240h": "r101_1x1x8_50e_sthv2_rgb_20201010-98cdedb8",
    "tsm/sthv2_r50_16f": "r50_256h_1x1x16_50e_sthv2_rgb_20210331-0a45549c",
    "tsm/sthv2_r50_16f_240h": "r50_1x1x16_50e_sthv2_rgb_20201010-16469c6f",
    "tsm/sthv2_r50_8f_240h": "r50_1x1x8_50e_sthv2_rgb_20200912-033c4ac6",
    "tsn/k400_densenet161_3f": "dense161_8xb32-1x1x3-100e_kinetics400-rgb_20220906-5f4c0daf",
    "tsn/k400_mobileone_s4_8f": "mobileone-s4_8xb32-1x1x8-100e_kinetics400-rgb_20230825-2da3c1f7",
    "tsn/k400_r101_8f": "r101_8xb32-1x1x8-100e_kinetics400-rgb_20220906-23cff032",
    "tsn/k400_r50_3f": "r50_8xb32-1x1x3-100e_kinetics400-rgb_20220906-cd10898e",
    "tsn/k400_r50_5f": "r50_8xb32-1x1x5-100e_kinetics400-rgb_20220906-65d68713",
    "tsn/k400_r50_5f_dense": "r50_8xb32-dense-1x1x5-100e_kinetics400-rgb_20220906-dcbc6e01",
    "tsn/k400_r50_8f": "r50_8xb32-1x1x8-100e_kinetics400-rgb_20220906-2692d16c",
    "tsn/k400_resnext101_3f": "rn101-32x4d_8xb32-1x1x3-100e_kinetics400-rgb_20221209-de2d5615",
    "tsn/k400_swin_base_3f": "swin-transformer_8xb32-1x1x3-100e_kinetics400-rgb_20220906-65ed814e",
    "tsn/k400_swin_base_8f": "swin-transformer_32xb8-1x1x8-50e_kinetics400-rgb_20230530-428f0064",
    "tsn/sthv2_r50_16f": "r50_8xb32-1x1x16-50e_sthv2-rgb_20230221-85bcc1c3",
    "tsn/sthv2_r50_8f": "r50_8xb32-1x1x8-50e_sthv2-rgb_20230313-06ad7d03",
}
# Folders of files whose name does not begin with the folder.
_FOLDERS = {
    "61135809": "tsm_mobilenetv2_dense_1x1x8_100e_kinetics400_rgb",
    "2f27f229": "tsm_r50_1x1x16_50e_kinetics400_rgb",
    "df97f3e1": "tsm_r50_1x1x8_50e_sthv2_rgb",
    "0a45549c": "tsm_r50_1x1x16_50e_sthv2_rgb",
}


def _url(recipe: str, name: str) -> str:
    root, prefix = _ROOTS[recipe[:3]]
    stem = prefix + name
    folder = _FOLDERS.get(stem[-8:]) or re.sub(r"(_\d{8})?-[0-9a-f]{8}$", "", stem)
    return f"{root}/{folder}/{stem}.pth"


ZOO: dict[str, str] = {recipe: _url(recipe, name) for recipe, name in _FILES.items()}
"""Address of the published checkpoint of each recipe, e.g. of ``"tsm/k400_r50_8f"``."""


def is_fetched(weights: str) -> bool:
    """Return whether weights are behind a URL or in the model zoo, not on this machine."""
    return is_url(weights) or weights.startswith(PREFIX)


def find_zoo_row(weights: str, *, method: str) -> str:
    """Return the row that a name of weights means, ``"zoo:tsm/k400_r50_8f"``; empty if it is no row.

    Args:
        weights: The row, with or without ``zoo:`` and method, e.g. ``"k400_r50_8f"``.
        method: ``"tsn"`` or ``"tsm"``.
    """
    if weights.startswith(PREFIX):
        return weights
    return next((f"{PREFIX}{row}" for row in (weights, f"{method}/{weights}") if row in ZOO), "")


def zoo_hint(weights: str) -> str:
    """Return a sentence with the rows that a misspelt name of weights may mean; empty without such rows.

    Example:
        >>> zoo_hint("k400_r101_9f")
        ' Near rows of the model zoo: zoo:tsn/k400_r101_8f.'

    Args:
        weights: A name that is neither a file nor weights of a backbone.
    """
    rows = [f"{PREFIX}{row}" for row in _nearest_rows(weights, cutoff=0.8)]
    return f" Near rows of the model zoo: {', '.join(rows)}." if rows else ""


def _nearest_rows(name: str, *, cutoff: float) -> list[str]:
    """Return the rows with a similar name, with or without the method."""
    if "/" in name:
        return difflib.get_close_matches(name, ZOO, n=3, cutoff=cutoff)
    recipes = {row.partition("/")[2] for row in ZOO}
    near = difflib.get_close_matches(name, recipes, n=3, cutoff=cutoff)
    return [row for recipe in near for row in ZOO if row.endswith(f"/{recipe}")]


def fetch_zoo_file(name: str) -> Path:
    """Return the published checkpoint of a recipe, downloaded at the first call.

    Args:
        name: E.g. ``"zoo:tsm/k400_r50_8f"``.

    Raises:
        CheckpointError: If there is no such row, or the file cannot be downloaded.
    """
    row = name.removeprefix(PREFIX).removesuffix(".yaml")
    if row not in ZOO:
        near = _nearest_rows(row, cutoff=0.4)
        raise CheckpointError(f"The model zoo has no row {ascii(row)[:60]}; it has {', '.join(near or ZOO)}.")
    return download(ZOO[row], sha256=ZOO[row][-12:-4])
