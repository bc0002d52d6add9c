import pytest

from tsn_tsm_plugin.config import load_cfg
from tsn_tsm_plugin.errors import ConfigError


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("")
    return str(path)


@pytest.mark.parametrize("aa_type", ["", "imgaug_default", "rand-m9-mstd0.5-inc1", "rand-mstd101-tweights"])
def test_known_kinds_of_rand_augment_pass(recipe, aa_type):
    assert load_cfg(recipe, ["AUG.AA_TYPE", aa_type]).AUG.AA_TYPE == aa_type


@pytest.mark.parametrize(
    "opts, message",
    [
        (["AUG.AA_TYPE", "augmix-m3"], "AUG.AA_TYPE must be '', 'imgaug_default' or a RandAugment string"),
        (["AUG.AA_TYPE", "rand-z9"], "got 'rand-z9'"),
        (["AUG.COLOR_JITTER", "[0.4, 0.4, 0.4]"], "must hold brightness, contrast, saturation and hue"),
        (["AUG.COLOR_JITTER", "[0.4, 0.4, 0.4, 0.6]"], "the last at most 0.5, got [0.4, 0.4, 0.4, 0.6]"),
        (["AUG.RE_PROB", "1.5"], "AUG.RE_PROB must be in [0, 1], got 1.5"),
        (["AUG.RE_MODE", "grey"], "AUG.RE_MODE must be one of 'pixel', 'rand', 'const', got 'grey'"),
        (["AUG.RE_COUNT", "0"], "AUG.RE_COUNT must be at least 1, got 0"),
        (["MIXUP.ALPHA", "-1"], "MIXUP.ALPHA must be at least 0, got -1.0"),
        (["MIXUP.SWITCH_PROB", "2"], "MIXUP.SWITCH_PROB must be in [0, 1], got 2.0"),
        (["MIXUP.LABEL_SMOOTH_VALUE", "1"], "MIXUP.LABEL_SMOOTH_VALUE must be in [0, 1), got 1.0"),
        (
            ["MIXUP.ENABLE=true", "MIXUP.ALPHA=0", "MIXUP.CUTMIX_ALPHA=0"],
            "MIXUP.ALPHA must be positive with MIXUP.ENABLE if MIXUP.CUTMIX_ALPHA is 0, got 0.0",
        ),
        (
            ["MIXUP.ENABLE=true", "MIXUP.LABEL_SMOOTH_VALUE=0.1", "SOLVER.LABEL_SMOOTHING=0.1"],
            "SOLVER.LABEL_SMOOTHING must be 0 with MIXUP.ENABLE and its LABEL_SMOOTH_VALUE",
        ),
    ],
)
def test_what_no_augmentation_can_be_is_refused_by_key_and_rule(recipe, opts, message):
    with pytest.raises(ConfigError) as error:
        load_cfg(recipe, opts)
    assert message in str(error.value)
