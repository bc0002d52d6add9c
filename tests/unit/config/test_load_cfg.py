import copy
import pickle
import re
from pathlib import Path

import pytest

from tsn_tsm_plugin.config import get_cfg, load_cfg
from tsn_tsm_plugin.errors import ConfigError


def recipe(folder: Path, text: str, name: str = "recipe.yaml") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_an_empty_file_gives_the_defaults(tmp_path):
    cfg = load_cfg(recipe(tmp_path, ""))
    default = get_cfg()
    default.OUTPUT_DIR = "runs/tsm/recipe"
    default.freeze()
    assert cfg == default


def test_the_run_folder_is_named_after_method_and_recipe(tmp_path):
    assert (
        load_cfg(recipe(tmp_path, "MODEL: {ARCH: tsn}", "k400_r50_3f.yaml")).OUTPUT_DIR
        == "runs/tsn/k400_r50_3f"
    )
    assert load_cfg(recipe(tmp_path, "OUTPUT_DIR: here")).OUTPUT_DIR == "here"


@pytest.mark.parametrize(
    "text, key, expected",
    [
        ("SOLVER: {BASE_LR: 1}", "BASE_LR", 1.0),
        ("SOLVER: {BASE_LR: 1e-4}", "BASE_LR", 1e-4),
        ("SOLVER: {MAX_EPOCH: 50.0}", "MAX_EPOCH", 50),
        ("SOLVER: {NESTEROV: 'true'}", "NESTEROV", True),
        ("SOLVER: {STEPS: [0.0, 3], LRS: [1, 0.1]}", "LRS", (1.0, 0.1)),
    ],
)
def test_values_become_the_type_of_their_key(tmp_path, text, key, expected):
    value = load_cfg(recipe(tmp_path, text)).SOLVER[key]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("written", ["on", "2020", "1e4", "null", "~/data"])
def test_a_text_key_keeps_what_was_written(tmp_path, written):
    from_file = load_cfg(recipe(tmp_path, f"DATA: {{LABEL_MAP: {written}}}"))
    from_command_line = load_cfg(recipe(tmp_path, ""), ["DATA.LABEL_MAP", written])
    assert from_file.DATA.LABEL_MAP == written
    assert from_command_line.DATA.LABEL_MAP == written


def test_overrides_come_as_pairs_or_with_an_equals_sign_and_win(tmp_path):
    cfg = load_cfg(
        recipe(tmp_path, "SOLVER: {BASE_LR: 0.5}"),
        ["SOLVER.BASE_LR", "1", "DATA.RANDOM_FLIP=false", "SOLVER.STEPS", "[0, 7]", "SOLVER.LRS=[1, .1]"],
    )
    assert (cfg.SOLVER.BASE_LR, cfg.DATA.RANDOM_FLIP) == (1.0, False)
    assert (cfg.SOLVER.STEPS, cfg.SOLVER.LRS) == ((0, 7), (1.0, 0.1))


def test_a_later_base_overrides_an_earlier_one_and_the_file_overrides_both(tmp_path):
    recipe(tmp_path, "RNG_SEED: 1\nLOG_PERIOD: 1\nSOLVER: {BASE_LR: 1.0}", "base/a.yaml")
    recipe(tmp_path, "RNG_SEED: 2\nLOG_PERIOD: 2", "base/b.yaml")
    cfg = load_cfg(
        recipe(
            tmp_path,
            "LOG_PERIOD: 3\n_BASE_: [base/a.yaml, base/b.yaml]",
            "leaf.yaml",
        )
    )
    assert (cfg.RNG_SEED, cfg.LOG_PERIOD, cfg.SOLVER.BASE_LR) == (2, 3, 1.0)


def test_a_list_replaces_the_list_of_the_base(tmp_path):
    recipe(tmp_path, "SOLVER: {STEPS: [0, 1, 2], LRS: [1.0, 0.1, 0.01]}", "base.yaml")
    cfg = load_cfg(recipe(tmp_path, "_BASE_: base.yaml\nSOLVER: {STEPS: [0], LRS: [1.0]}"))
    assert cfg.SOLVER.STEPS == (0,)


def faults(tmp_path: Path, text: str, opts: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as error:
        load_cfg(recipe(tmp_path, text), opts)
    return str(error.value)


@pytest.mark.parametrize("written", ["1:59", "1_0", "+-1", "\u0661"])
def test_an_epoch_number_is_plain_digits_in_files_and_on_the_command_line(tmp_path, written):
    for text, opts in ((f"SOLVER:\n  MAX_EPOCH: {written}\n", ()), ("", ("SOLVER.MAX_EPOCH", written))):
        assert "SOLVER.MAX_EPOCH must be an integer, got" in faults(tmp_path, text, opts)


@pytest.mark.parametrize("written", ['"a\\0b"', '"a\\uD800b"'])
def test_text_that_no_path_can_hold_is_refused(tmp_path, written):
    assert "OUTPUT_DIR must be text without NUL" in faults(tmp_path, f"OUTPUT_DIR: {written}\n")


def test_all_faults_are_reported_at_once_with_file_line_and_the_nearest_key(tmp_path):
    text = "MODEL:\n  NUM_CLASS: 3\n  ARCH: tsx\nSOLVER:\n  MAX_EPOCH: 1.5\n  BASE_LR: fast\nDATA: 7\n"
    message = faults(tmp_path, text, ("TRAIN.BATCHSIZE", "4"))
    path = tmp_path / "recipe.yaml"
    assert message.splitlines()[0] == f"{path}: 6 faults"
    assert f"{path}:2: MODEL.NUM_CLASS is not a key; did you mean MODEL.NUM_CLASSES?" in message
    assert f"{path}:3: MODEL.ARCH must be one of 'tsn', 'tsm', got 'tsx'" in message
    assert f"{path}:5: SOLVER.MAX_EPOCH must be an integer, got 1.5" in message
    assert f"{path}:6: SOLVER.BASE_LR must be a number, got 'fast'" in message
    assert f"{path}:7: DATA holds keys (PATH_TO_DATA_DIR" in message
    assert "command line: TRAIN.BATCHSIZE is not a key; did you mean TRAIN.BATCH_SIZE?" in message


def test_a_key_in_the_wrong_node_is_found_where_it_lives(tmp_path):
    assert "did you mean SOLVER.BASE_LR?" in faults(tmp_path, "TRAIN: {BASE_LR: 0.1}")


def test_a_fault_in_a_base_is_named_by_the_bases_own_line(tmp_path):
    base = recipe(tmp_path, "\n\nRNG_SEEDS: 1\n", "base.yaml")
    assert f"{base}:3: RNG_SEEDS is not a key" in faults(tmp_path, "_BASE_: base.yaml")


@pytest.mark.parametrize(
    "text, message",
    [
        ("TEST: {NUM_ENSEMBLE_VIEWS: 10}", "(DATA.TEST_SAMPLER dense takes more), got 10"),
        ("TEST: {NUM_FRAMES: 25}", "must be 0 or DATA.NUM_FRAMES (8) for tsm"),
        ("TEST: {NUM_SPATIAL_CROPS: 5}", "must be one of 1, 3, 10, got 5"),
        ("SOLVER: {STEPS: [1, 2]}", "must start with 0 and rise, got [1, 2]"),
        ("SOLVER: {LRS: [1.0]}", "must hold one factor for each of SOLVER.STEPS (3)"),
        ("SOLVER: {BASE_LR: .nan}", "must be at least 0, got nan"),
        ("DATA: {STD: [0.225, 0.225, 0.225]}", "DATA.STD must be in 0-255"),
        ("DATA: {MEAN: [1.0]}", "must hold one number for each of R, G, B"),
        ("DATA: {TEST_CROP_SIZE: 300}", "must be at most DATA.TEST_SHORT_SIDE (256), got 300"),
        ("DATA: {FLIP_LABEL_PAIRS: [[1, 2], [2, 3]]}", "must name a label once only"),
        ("DATA: {FURTHER_TRAIN_LISTS: [web.txt]}", "must hold pairs of a list and a prefix"),
        ('DATA: {FURTHER_TRAIN_LISTS: [["a\\0", ""]]}', "must hold pairs of a list and a prefix"),
        ("DATA: {FLIP_LABEL_PAIRS: [[1, 400]]}", "must hold pairs of labels below MODEL.NUM_CLASSES (400)"),
        ("DDP: {GRADIENT_COMPRESSION: fp8}", "must be one of 'off', 'bf16', got 'fp8'"),
        ("DDP: {BUCKET_CAP_MB: 0}", "must be at least 1, got 0"),
        (
            "{DDP: {STATIC_GRAPH: true}, TRAIN: {MAX_CLIPS_PER_FORWARD: 4}}",
            "DDP.STATIC_GRAPH must be off with TRAIN.MAX_CLIPS_PER_FORWARD (4)",
        ),
        ("MODEL: {DROPOUT_RATE: 1.0}", "must be in [0, 1), got 1.0"),
        ("AUG: {CROP_SCALES: []}", "must be numbers in (0, 1], got []"),
        ("DATA: {SAMPLER: dense, DENSE_WINDOW: 4}", "must be at least DATA.NUM_FRAMES (8), got 4"),
    ],
)
def test_rules_across_keys_name_the_rule_and_the_value(tmp_path, text, message):
    assert message in faults(tmp_path, text)


@pytest.mark.parametrize(
    "text, message",
    [
        ("_BASE_: recipe.yaml", "_BASE_ must not form a circle, got "),
        ("_BASE_: gone.yaml", "gone.yaml: no such file, named as _BASE_ in "),
        ("_BASE_: {a: 1}", "recipe.yaml:1: _BASE_ must be a path or a list of paths, got {'a': 1}."),
        ("- 1", "a recipe must be `KEY: value` lines, got a sequence."),
        ("MODEL: [", "recipe.yaml:1: not valid YAML: "),
        ("RNG_SEED: 1\nRNG_SEED: 2", "recipe.yaml:2: RNG_SEED is set twice, first in line 1. Keep one."),
        ("RNG_SEED: !!python/object/apply:os.getcwd []", "a recipe may hold plain values and lists only."),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path, text, message):
    assert message in faults(tmp_path, text)


def test_a_circle_through_another_folder_is_seen(tmp_path):
    recipe(tmp_path, "_BASE_: ../recipe.yaml", "sub/base.yaml")
    assert "must not form a circle" in faults(tmp_path, "_BASE_: sub/base.yaml")


def test_a_missing_file_and_an_override_without_value_are_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match=re.escape("gone.yaml: no such file; recipes lie in ")):
        load_cfg("gone.yaml")
    with pytest.raises(ConfigError, match="override RNG_SEED has no value"):
        load_cfg(recipe(tmp_path, ""), ["RNG_SEED"])
    assert load_cfg(recipe(tmp_path, ""), ["DATA.LABEL_MAP="]).DATA.LABEL_MAP == ""


def test_a_loaded_config_cannot_be_changed_by_any_way(tmp_path):
    cfg = load_cfg(recipe(tmp_path, ""))
    for config in (cfg, cfg.clone(), copy.deepcopy(cfg), pickle.loads(pickle.dumps(cfg))):
        assert config == cfg
        with pytest.raises(AttributeError):
            config.RNG_SEED = 1
        with pytest.raises(AttributeError, match="BASE_LR cannot be set to 7.0: this config is frozen"):
            config.SOLVER["BASE_LR"] = 7.0
        with pytest.raises(AttributeError):
            config.SOLVER.STEPS.append(9)


def test_a_defrosted_clone_can_be_changed_without_touching_the_original(tmp_path):
    cfg = load_cfg(recipe(tmp_path, ""))
    clone = cfg.clone()
    clone.defrost()
    clone.SOLVER.STEPS.append(60)
    assert clone.SOLVER.STEPS == [0, 20, 40, 60]
    assert cfg.SOLVER.STEPS == (0, 20, 40)


def test_a_dumped_config_loads_as_itself(tmp_path):
    cfg = load_cfg(recipe(tmp_path, "DATA: {FLIP_LABEL_PAIRS: [[1, 2]]}"))
    again = load_cfg(recipe(tmp_path, cfg.dump(), "dumped.yaml"))
    assert again.dump() == cfg.dump()


@pytest.mark.parametrize("protocol, expected", [("efficient", (1, 1, 224)), ("accurate", (2, 3, 256))])
def test_a_named_protocol_sets_views_and_crops(tmp_path, protocol, expected):
    cfg = load_cfg(recipe(tmp_path, "DATA: {TEST_CROP_SIZE: 99}"), ["TEST.PROTOCOL", protocol])
    assert (cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS, cfg.DATA.TEST_CROP_SIZE) == expected


def test_get_cfg_returns_a_fresh_copy():
    get_cfg().RNG_SEED = 5
    assert get_cfg().RNG_SEED == 0
