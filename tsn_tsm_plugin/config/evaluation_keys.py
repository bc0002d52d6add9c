"""EVALUATION_KEYS: keys of testing."""

from tsn_tsm_plugin.config.key import ON_THIS_MACHINE, Key, Rule, at_least, free, one_of
from tsn_tsm_plugin.paths import is_url

EVALUATION_KEYS = (
    Key("TEST.BATCH_SIZE", 8, "Videos in a step of testing, over all processes.", at_least(1)),
    Key(
        "TEST.CHECKPOINT_FILE_PATH",
        "",
        'Weights to test, at any path that iopath can fetch; "": the newest checkpoint of the run folder.',
    ),
    free(
        "TEST.OUTPUT_DIR",
        "",
        'Folder of an evaluation; "": OUTPUT_DIR/evaluate/<time>. Training tests into OUTPUT_DIR itself.',
        ON_THIS_MACHINE,
    ),
    free(
        "TEST.CHECKPOINT_MINUTES",
        1.0,
        "Minutes between writes of the scores so far; an interrupted test goes on from them. 0: none.",
        at_least(0),
    ),
    Key(
        "TEST.NUM_FRAMES",
        0,
        "Frames of one view at test time; 0: DATA.NUM_FRAMES. TSN tests with more than it trains with.",
        at_least(0),
    ),
    Key(
        "TEST.PROTOCOL",
        "",
        'Protocol of Something-Something: "efficient" (1 view, centre crop of the training size), "accurate" '
        '(2 views in time, 3 crops of the short side) or "". Sets NUM_ENSEMBLE_VIEWS, NUM_SPATIAL_CROPS and '
        "DATA.TEST_CROP_SIZE.",
        one_of("", "efficient", "accurate"),
    ),
    Key(
        "TEST.NUM_ENSEMBLE_VIEWS",
        1,
        'Views in time. Uniform sampling: 1, or 2 (segment centres and segment starts, "twice sample"). '
        "Dense sampling: windows over the video.",
        at_least(1),
    ),
    Key(
        "TEST.NUM_SPATIAL_CROPS",
        1,
        "Views in space: 1 (centre), 3 (along the longer side) or 10 (corners and centre, each mirrored).",
        one_of(1, 3, 10),
    ),
    Key(
        "TEST.SAVE_RESULTS_PATH",
        "",
        'File that gets the scores of every video and view; "": none. Relative to OUTPUT_DIR.',
        Rule(
            "be a path of this machine that ends in .pkl, .json or .csv",
            lambda path: not path or (not is_url(path) and path.endswith((".pkl", ".json", ".csv"))),
        ),
    ),
    Key(
        "TEST.MAX_FRAMES_PER_FORWARD",
        0,
        "Frames that go through the model at once, of all views of the videos in a step; at least one view "
        "does. 0: no limit.",
        at_least(0),
    ),
    Key(
        "TEST.VIEW_AVERAGE",
        "auto",
        'How views are averaged: "logits", "probabilities", or "auto" (as the references: TSN averages '
        "features, which equals logits; TSM averages probabilities).",
        one_of("auto", "logits", "probabilities"),
    ),
)
