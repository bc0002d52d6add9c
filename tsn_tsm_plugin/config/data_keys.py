"""DATA_KEYS: keys that select videos and frames, and configure transforms and loaders."""

from collections.abc import Sequence
from typing import Any

from tsn_tsm_plugin.config.key import (
    PRESET,
    PROBABILITY,
    SHARE,
    Key,
    Rule,
    at_least,
    fixed,
    fixed_within_epoch,
    free,
    one_of,
)
from tsn_tsm_plugin.paths import NO_PATH


def _are_pairs_of_text(items: Sequence[Any]) -> bool:
    return all(
        isinstance(item, list | tuple)
        and len(item) == 2
        and all(isinstance(text, str) and not NO_PATH.search(text) for text in item)
        for item in items
    )


DATA_KEYS = (
    Key(
        "DATA.PATH_TO_DATA_DIR",
        "",
        "Folder of the dataset; lists, label map and videos are looked up below it.",
    ),
    Key("DATA.DATASET", "", 'Name of the dataset, e.g. "sthv2"; checkpoints of another dataset are refused.'),
    Key(
        "DATA.FORMAT",
        "videos",
        'How videos are stored: "videos" (one file each), "frames" (a folder of JPEG images each), "shards" '
        "(many in one tar file) or another registered dataset.",
        component="dataset",
    ),
    Key("DATA.FORMAT_OPTIONS", {}, "Additional keyword arguments of the dataset."),
    free(
        "DATA.STAGE_TO",
        "",
        "Folder on each node's own disk, as $TMPDIR/shards, that the shards are copied to before the first "
        'step; "": none.',
    ),
    fixed(
        "DATA.MODALITY",
        "rgb",
        'Modality of a segment: "rgb" (a frame), "flow" (5 flow fields, from folders of images) or '
        '"rgb_diff" (5 differences of neighbouring frames).',
        one_of("rgb", "flow", "rgb_diff"),
    ),
    Key(
        "DATA.FRAME_TEMPLATE",
        "img_{:05}.jpg",
        "Name of a frame's file within its folder, with one field for its number. Flow has a field for x and "
        'y before the number, by default "flow_{}_{:05}.jpg".',
    ),
    Key("DATA.FRAME_START_INDEX", 1, "Number of the first frame of a folder.", at_least(0)),
    Key("DATA.PATH_PREFIX", "", "Put before every path of a list; relative to PATH_TO_DATA_DIR."),
    fixed_within_epoch(
        "DATA.TRAIN_LIST",
        "train.txt",
        "Training videos, relative to PATH_TO_DATA_DIR, one line each: `path label`, for frames "
        "`path number-of-frames label`; for shards one line for each tar file, its path.",
    ),
    fixed_within_epoch(
        "DATA.FURTHER_TRAIN_LISTS",
        [],
        "More lists of training videos in the same FORMAT, each with its own PATH_PREFIX: [[LIST, PREFIX], "
        "...]. An epoch reads the videos of every list, mixed.",
        Rule("hold pairs of a list and a prefix, as [[web.txt, web_videos]]", _are_pairs_of_text),
    ),
    Key("DATA.VAL_LIST", "val.txt", 'List of the validation videos, as TRAIN_LIST; "": no validation.'),
    Key("DATA.TEST_LIST", "", 'List of the test videos, as TRAIN_LIST; "": VAL_LIST.'),
    fixed(
        "DATA.MULTI_LABEL",
        False,
        "Whether lines may end with several labels, all of which the video has.",
    ),
    Key("DATA.PATH_LABEL_SEPARATOR", " ", "Separator between path and label in list files."),
    Key(
        "DATA.LABEL_MAP",
        "",
        'One class name per line, relative to PATH_TO_DATA_DIR; "": classes are numbered.',
    ),
    Key(
        "DATA.CREATE_IF_MISSING",
        "",
        'Dataset to create if PATH_TO_DATA_DIR does not exist; "": none.',
        one_of("", "motion"),
        formerly="DATA.PREPARE",
    ),
    fixed(
        "DATA.NUM_FRAMES",
        8,
        "Frames of one view in training and validation; for TSM also in testing.",
        at_least(1),
    ),
    fixed(
        "DATA.SAMPLER",
        "uniform",
        'How frames are chosen: "uniform" (one per segment), "dense" (a window of DENSE_WINDOW frames), or '
        "another registered sampler.",
        component="sampler",
        formerly="TSN.SAMPLING",
    ),
    Key("DATA.SAMPLER_OPTIONS", {}, "Keyword arguments of SAMPLER."),
    Key(
        "DATA.TEST_SAMPLER",
        "",
        'The same in validation and testing; "": SAMPLER.',
        component="sampler",
        formerly="TSN.TEST_SAMPLING",
    ),
    Key("DATA.TEST_SAMPLER_OPTIONS", {}, "Keyword arguments of TEST_SAMPLER."),
    fixed(
        "DATA.DENSE_WINDOW",
        64,
        "Width of the window of dense sampling, in frames.",
        at_least(1),
        formerly="TSN.SAMPLE_RANGE",
    ),
    Key(
        "DATA.KEEP_TAIL_FRAMES",
        False,
        "Whether training with uniform sampling may also draw the last `frames mod segments` frames of a "
        "video, which the references always skip.",
        formerly="TSN.KEEP_TAIL_FRAMES",
    ),
    Key(
        "DATA.DECODING_BACKEND",
        "auto",
        'Decoder of videos: "auto" or a registered name.',
        component="decoder",
    ),
    Key("DATA.DECODER_OPTIONS", {}, "Keyword arguments of a decoder that is named."),
    Key(
        "DATA.TRAIN_TRANSFORMS",
        [PRESET],
        "Steps that make a training clip of the decoded frames, in order: names of registered transforms, or "
        '`{name: NAME, options: {...}}` with keyword arguments. "preset" stands for the steps of the keys '
        "below and of AUG; a list without it replaces them.",
        component="transform",
    ),
    Key(
        "DATA.TEST_TRANSFORMS",
        [PRESET],
        'The same in validation and testing; "preset" stands for short side and crops.',
        component="transform",
    ),
    Key(
        "DATA.SCALE_IN_DECODER",
        False,
        "Scale to the short side in the pass of FFmpeg that converts to RGB, in training and in evaluation. "
        "Pixels differ from the references' by 1.3 levels on average (brighter by 1.1) and by up to 31. "
        "For 8 frames of 424x320 this saves 6 of 61 ms in evaluation, whose resize is exact. It costs 2 of "
        "54 ms in training.",
    ),
    Key(
        "DATA.MAX_BAD_VIDEOS",
        0,
        "Unreadable videos that an epoch may skip before the run stops.",
        at_least(0),
    ),
    fixed(
        "DATA.MEAN",
        [123.675, 116.28, 103.53],
        "Mean of R, G and B, for flow of x and y (by default 128), in 0-255; rgb_diff has none.",
    ),
    fixed(
        "DATA.STD",
        [58.395, 57.12, 57.375],
        "Deviation of the same channels (for flow by default 128), in 0-255.",
    ),
    fixed(
        "DATA.CHANNEL_ORDER",
        "rgb",
        'Order in which the network takes the channels of a normalised frame: "rgb", or "bgr" as networks of '
        "Caffe and OpenCV. MEAN and STD stay in the order R, G, B.",
        one_of("rgb", "bgr"),
    ),
    fixed(
        "DATA.TRAIN_SHORT_SIDE",
        256,
        "Short side of a training frame before the crop, in pixels; 0 keeps the decoded size.",
        at_least(0),
    ),
    Key("DATA.TEST_SHORT_SIDE", 256, "The same in validation and testing.", at_least(0)),
    fixed("DATA.TRAIN_CROP_SIZE", 224, "Side of the square crop in training, in pixels.", at_least(1)),
    Key("DATA.TEST_CROP_SIZE", 224, "Side of the square crops in testing, in pixels.", at_least(1)),
    Key("DATA.RANDOM_FLIP", True, "Mirror half of the training clips."),
    Key(
        "DATA.FLIP_LABEL_PAIRS",
        [],
        "Pairs of labels that a mirror turns into each other, e.g. [[86, 87], [93, 94]].",
    ),
    fixed(
        "AUG.CROP",
        "multi_scale",
        'Training crop: "multi_scale" (TSN), "random_resized" (Inception) or "center".',
        one_of("multi_scale", "random_resized", "center"),
    ),
    Key(
        "AUG.CROP_SCALES",
        [1.0, 0.875, 0.75, 0.66],
        "Scales of the multi-scale crop, relative to the short side.",
        Rule("be numbers in (0, 1]", lambda scales: bool(scales) and all(0 < s <= 1 for s in scales)),
    ),
    Key("AUG.NUM_FIXED_CROPS", 13, "Fixed positions of the multi-scale crop.", one_of(5, 13)),
    Key(
        "AUG.AA_TYPE",
        "",
        'RandAugment after the flip: "" (none), "imgaug_default" (the Something-Something rows\'), or a '
        'string of timm such as "rand-m9-mstd0.5-inc1".',
    ),
    Key(
        "AUG.COLOR_JITTER",
        [0.0, 0.0, 0.0, 0.0],
        "Strengths of random brightness, contrast, saturation and hue. 0: none; 0.4: factors from 0.6 to "
        "1.4; hue in turns of the colour circle, at most 0.5.",
    ),
    Key("AUG.RE_PROB", 0.0, "Probability of erasing boxes of random area, shape and place.", PROBABILITY),
    Key(
        "AUG.RE_MODE",
        "pixel",
        'Content of boxes: "pixel" (noise), "rand" (one colour per frame) or "const" (the mean colour).',
        one_of("pixel", "rand", "const"),
    ),
    Key("AUG.RE_COUNT", 1, "Largest number of boxes.", at_least(1)),
    Key("AUG.RE_PER_FRAME", False, "Other boxes in every frame instead of the same ones in all."),
    Key("MIXUP.ENABLE", False, "Mix the clips of a batch and their labels, after normalisation."),
    Key(
        "MIXUP.METHOD",
        "random_mix",
        'Batch transform: "mixup", "cutmix", "random_mix" (the one or the other), or another registered '
        "batch transform.",
        component="batch_transform",
    ),
    Key("MIXUP.OPTIONS", {}, "Additional keyword arguments of METHOD."),
    Key(
        "MIXUP.ALPHA",
        0.8,
        "MixUp's weight is drawn from Beta(ALPHA, ALPHA); 0 turns MixUp off.",
        at_least(0),
    ),
    Key(
        "MIXUP.CUTMIX_ALPHA",
        1.0,
        "CutMix's area is drawn from Beta(CUTMIX_ALPHA, CUTMIX_ALPHA); 0 turns CutMix off.",
        at_least(0),
    ),
    Key("MIXUP.PROB", 1.0, "Probability of mixing.", PROBABILITY),
    Key("MIXUP.SWITCH_PROB", 0.5, "Probability of CutMix rather than MixUp.", PROBABILITY),
    Key(
        "MIXUP.LABEL_SMOOTH_VALUE",
        0.0,
        "Share of a label that is spread over all classes; SlowFast's default is 0.1, the references' 0.",
        SHARE,
    ),
    Key("MIXUP.PER_SAMPLE", False, "Draw for each clip instead of once for the batch."),
    free(
        "DATA_LOADER.NUM_WORKERS",
        8,
        "Worker processes of each rank; 0 reads in the training process.",
        at_least(0),
    ),
    free(
        "DATA_LOADER.MAX_WAIT_SECONDS",
        300.0,
        "Seconds without a batch after which a run saves and ends; each minute of waiting is logged.",
        at_least(1),
    ),
    free("DATA_LOADER.PIN_MEMORY", True, "Keep batches in page-locked memory for faster copies to the GPU."),
    free("DATA_LOADER.START_METHOD", "fork", "How workers start.", one_of("fork", "spawn", "forkserver")),
)
