"""ZOO, fetch_zoo_file: checkpoints published by MMAction2, by recipe name.

Sources: the tables of https://github.com/open-mmlab/mmaction2, configs/recognition/tsn and tsm. The last
eight digits of a file name begin the SHA-256 of the file.
"""

import difflib
import re
from pathlib import Path

from tsn_tsm_plugin.checkpoints.download import download
from tsn_tsm_plugin.errors import CheckpointError

PREFIX = "zoo:"
_SITE = "https://download.openmmlab.com/mmaction"
_ROOTS = {"tsn": f"{_SITE}/v1.0/recognition/tsn", "tsm": f"{_SITE}/recognition/tsm"}

# File of each recipe.
_FILES = {
    "tsm/diving48_r50_16f": "tsm_r50_video_1x1x16_50e_diving48_rgb_20210426-aa9631c0.pth",
    "tsm/diving48_r50_8f": "tsm_r50_video_1x1x8_50e_diving48_rgb_20210426-aba5aa3d.pth",
    "tsm/jester_r50_8f": "tsm_r50_1x1x8_50e_jester_rgb-c799267e.pth",
    "tsm/k400_mobilenetv2_8f_dense": (
        "tsm_mobilenetv2_dense_320p_1x1x8_100e_kinetics400_rgb_20210202-61135809.pth"
    ),
    "tsm/k400_r50_16f": "tsm_r50_256p_1x1x16_50e_kinetics400_rgb_20201010-85645c2a.pth",
    "tsm/k400_r50_16f_340x256": "tsm_r50_340x256_1x1x16_50e_kinetics400_rgb_20201011-2f27f229.pth",
    "tsm/k400_r50_8f": "tsm_r50_video_1x1x8_100e_kinetics400_rgb_20200702-a77f4328.pth",
    "tsm/k400_r50_8f_256p": "tsm_r50_256p_1x1x8_50e_kinetics400_rgb_20200726-020785e2.pth",
    "tsm/k400_r50_8f_340x256": "tsm_r50_1x1x8_50e_kinetics400_rgb_20200607-af7fb746.pth",
    "tsm/k400_r50_8f_dense": "tsm_r50_dense_256p_1x1x8_100e_kinetics400_rgb_20200727-e1e0c785.pth",
    "tsm/k400_r50_8f_dense_340x256": "tsm_r50_dense_1x1x8_100e_kinetics400_rgb_20200626-91a54551.pth",
    "tsm/k400_r50_8f_gpu_normalize": "tsm_r50_gpu_normalize_1x1x8_50e_kinetics400_rgb_20210219-bf96e6cc.pth",
    "tsm/k400_r50_8f_nl_dot_product": (
        "tsm_nl_dot_product_r50_1x1x8_50e_kinetics400_rgb_20200724-d8ad84d2.pth"
    ),
    "tsm/k400_r50_8f_nl_embedded_gaussian": (
        "tsm_nl_embedded_gaussian_r50_1x1x8_50e_kinetics400_rgb_20200724-f00f1336.pth"
    ),
    "tsm/k400_r50_8f_nl_gaussian": "tsm_nl_gaussian_r50_1x1x8_50e_kinetics400_rgb_20200816-b93fd297.pth",
    "tsm/sthv1_r101_8f": "tsm_r101_1x1x8_50e_sthv1_rgb_20201010-43fedf2e.pth",
    "tsm/sthv1_r50_16f": "tsm_r50_1x1x16_50e_sthv1_rgb_20201010-17fa49f6.pth",
    "tsm/sthv1_r50_8f": "tsm_r50_1x1x8_50e_sthv1_rgb_20210203-01dce462.pth",
    "tsm/sthv1_r50_8f_cutmix": "tsm_r50_cutmix_1x1x8_50e_sthv1_rgb-34934615.pth",
    "tsm/sthv1_r50_8f_flip": "tsm_r50_flip_1x1x8_50e_sthv1_rgb_20210203-12596f16.pth",
    "tsm/sthv1_r50_8f_flip_randaug": "tsm_r50_flip_randaugment_1x1x8_50e_sthv1_rgb_20210324-76937692.pth",
    "tsm/sthv1_r50_8f_mixup": "tsm_r50_mixup_1x1x8_50e_sthv1_rgb-9eca48e5.pth",
    "tsm/sthv1_r50_8f_randaug": "tsm_r50_randaugment_1x1x8_50e_sthv1_rgb_20210324-481268d9.pth",
    "tsm/sthv2_r101_8f": "tsm_r50_256h_1x1x8_50e_sthv2_rgb_20210401-df97f3e1.pth",
    "tsm/sthv2_r101_8f_240h": "tsm_r101_1x1x8_50e_sthv2_rgb_20201010-98cdedb8.pth",
    "tsm/sthv2_r50_16f": "tsm_r50_256h_1x1x16_50e_sthv2_rgb_20210331-0a45549c.pth",
    "tsm/sthv2_r50_16f_240h": "tsm_r50_1x1x16_50e_sthv2_rgb_20201010-16469c6f.pth",
    "tsm/sthv2_r50_8f_240h": "tsm_r50_1x1x8_50e_sthv2_rgb_20200912-033c4ac6.pth",
    "tsn/k400_densenet161_3f": (
        "tsn_imagenet-pretrained-dense161_8xb32-1x1x3-100e_kinetics400-rgb_20220906-5f4c0daf.pth"
    ),
    "tsn/k400_mobileone_s4_8f": (
        "tsn_imagenet-pretrained-mobileone-s4_8xb32-1x1x8-100e_kinetics400-rgb_20230825-2da3c1f7.pth"
    ),
    "tsn/k400_r101_8f": "tsn_imagenet-pretrained-r101_8xb32-1x1x8-100e_kinetics400-rgb_20220906-23cff032.pth",
    "tsn/k400_r50_3f": "tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb_20220906-cd10898e.pth",
    "tsn/k400_r50_5f": "tsn_imagenet-pretrained-r50_8xb32-1x1x5-100e_kinetics400-rgb_20220906-65d68713.pth",
    "tsn/k400_r50_5f_dense": (
        "tsn_imagenet-pretrained-r50_8xb32-dense-1x1x5-100e_kinetics400-rgb_20220906-dcbc6e01.pth"
    ),
    "tsn/k400_r50_8f": "tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb_20220906-2692d16c.pth",
    "tsn/k400_resnext101_3f": (
        "tsn_imagenet-pretrained-rn101-32x4d_8xb32-1x1x3-100e_kinetics400-rgb_20221209-de2d5615.pth"
    ),
    "tsn/k400_swin_base_3f": (
        "tsn_imagenet-pretrained-swin-transformer_8xb32-1x1x3-100e_kinetics400-rgb_20220906-65ed814e.pth"
    ),
    "tsn/k400_swin_base_8f": (
        "tsn_imagenet-pretrained-swin-transformer_32xb8-1x1x8-50e_kinetics400-rgb_20230530-428f0064.pth"
    ),
    "tsn/sthv2_r50_16f": "tsn_imagenet-pretrained-r50_8xb32-1x1x16-50e_sthv2-rgb_20230221-85bcc1c3.pth",
    "tsn/sthv2_r50_8f": "tsn_imagenet-pretrained-r50_8xb32-1x1x8-50e_sthv2-rgb_20230313-06ad7d03.pth",
}
# Folders of files whose name does not begin with the folder.
_FOLDERS = {
    "61135809": "tsm_mobilenetv2_dense_1x1x8_100e_kinetics400_rgb",
    "2f27f229": "tsm_r50_1x1x16_50e_kinetics400_rgb",
    "df97f3e1": "tsm_r50_1x1x8_50e_sthv2_rgb",
    "0a45549c": "tsm_r50_1x1x16_50e_sthv2_rgb",
}


def _url(recipe: str, file: str) -> str:
    digits = file[-12:-4]
    folder = _FOLDERS.get(digits) or re.sub(r"(_\d{8})?-[0-9a-f]{8}\.pth$", "", file)
    return f"{_ROOTS[recipe[:3]]}/{folder}/{file}"


ZOO: dict[str, str] = {recipe: _url(recipe, file) for recipe, file in _FILES.items()}
"""Address of the published checkpoint of each recipe, e.g. of ``"tsm/k400_r50_8f"``."""


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
