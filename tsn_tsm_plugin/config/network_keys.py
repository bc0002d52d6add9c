"""NETWORK_KEYS: keys that select the network and its trained parts."""

from tsn_tsm_plugin.config.key import NAMES, SHARE, Key, at_least, fixed, one_of

NETWORK_KEYS = (
    fixed("MODEL.ARCH", "tsm", "The method.", one_of("tsn", "tsm")),
    fixed(
        "MODEL.BACKBONE",
        "resnet50",
        "A registered backbone, or `timm/NAME` or `torchvision/NAME`.",
        component="backbone",
    ),
    fixed(
        "MODEL.BACKBONE_OPTIONS",
        {},
        "Keyword arguments of the backbone: of a registered one, of timm's create_model or of torchvision's "
        "function.",
    ),
    fixed(
        "MODEL.TEMPORAL_MODULES",
        [],
        "Temporal modules of a tsm's backbone: a list of {NAME, SITES, OPTIONS}. NAME is a "
        "registered temporal module, OPTIONS its keyword arguments. SITES is a list of patterns of submodule "
        "names; without SITES, the sites that the backbone declares. Empty: temporal_shift with the keys of "
        "TSM.",
        component="temporal_module",
        entry_keys=("sites",),
    ),
    Key(
        "MODEL.BACKBONE_WEIGHTS",
        "",
        'Weights of the backbone before training: "" (random), a name such as torchvision\'s '
        '"IMAGENET1K_V1", or a file, by any path that iopath can open.',
    ),
    fixed("MODEL.HEAD", "", 'A registered head; "": the method\'s own.', component="head"),
    fixed("MODEL.HEAD_OPTIONS", {}, "Keyword arguments of HEAD, if HEAD is a registered head."),
    Key(
        "MODEL.LOSS_FUNC",
        "",
        'A registered loss, averaged over clips; "": "cross_entropy", or "binary_cross_entropy" with '
        "DATA.MULTI_LABEL.",
        component="loss",
    ),
    Key("MODEL.LOSS_OPTIONS", {}, "Keyword arguments of the loss."),
    fixed("MODEL.NUM_CLASSES", 400, "Number of classes.", at_least(1)),
    Key("MODEL.DROPOUT_RATE", 0.5, "Probability of dropping a feature before the classifier.", SHARE),
    Key(
        "MODEL.FC_INIT_STD",
        0.001,
        "Standard deviation of the classifier's initial weights, in the method's own head.",
        at_least(0),
    ),
    fixed(
        "MODEL.FROZEN_MODULES",
        [],
        'Submodules whose weights and statistics are frozen, e.g. ["backbone.conv1", "backbone.bn1"].',
        NAMES,
    ),
    fixed(
        "MODEL.FROZEN_STAGES",
        -1,
        "Stages of the backbone, after its stem, whose weights and statistics stay as they are; 0: only the "
        "stem; -1: none. A ResNet has 4.",
        at_least(-1),
    ),
    fixed(
        "MODEL.PARTIAL_BN",
        False,
        "Freeze every batch norm but the first, as the TSN paper does for small datasets.",
    ),
    Key(
        "MODEL.ACT_CHECKPOINT",
        False,
        "Keep the inputs of blocks only and compute the rest again in the backward pass: less memory, more "
        "time.",
    ),
    Key(
        "BN.NORM_TYPE",
        "batchnorm",
        '"batchnorm" (statistics of the clips of one process) or "sync_batchnorm" (of all processes, on '
        "GPUs).",
        one_of("batchnorm", "sync_batchnorm"),
    ),
    fixed(
        "BN.FREEZE_STATS",
        False,
        "Normalise with the running statistics in training, and leave them as they are; affine weights are "
        "trained. MMAction2's norm_eval.",
    ),
    Key(
        "BN.USE_PRECISE_STATS",
        False,
        "After each epoch, recompute running statistics from NUM_BATCHES_PRECISE batches.",
    ),
    Key("BN.NUM_BATCHES_PRECISE", 200, "Batches of each process for them.", at_least(1)),
    fixed(
        "EMA.ENABLE",
        False,
        "Keep an exponential moving average of the weights, which is tested and saved in their place.",
    ),
    Key("EMA.DECAY", 0.999, "Share of the average that a step leaves as it is.", SHARE),
    fixed("TSM.SHIFT_DIV", 8, "One SHIFT_DIV-th of the channels is shifted each way.", at_least(2)),
    fixed(
        "TSM.SHIFT_PLACE",
        "blockres",
        '"blockres": the first convolution of a residual block sees shifted features; "block": the whole '
        "block does.",
        one_of("blockres", "block"),
    ),
    fixed(
        "TSM.SITES",
        [],
        'Submodules of the backbone that see shifted features, by patterns such as ["blocks.*.mlp"]; empty: '
        "the sites that the backbone declares.",
    ),
    fixed(
        "TSM.TOKENS",
        "all",
        '"all", or "class" to shift only class and register tokens, as Token Shift does.',
        one_of("all", "class"),
    ),
    fixed("TSM.TEMPORAL_POOL", False, "Halve the number of frames before the second stage."),
    fixed(
        "TSM.CAUSAL",
        False,
        "Shift from the past only, so that the network can run on a stream, one frame at a time.",
    ),
    fixed(
        "NONLOCAL.INSTANTIATION",
        "",
        'Kind of the non-local blocks in a TSM; "": none.',
        one_of("", "embedded_gaussian", "gaussian", "dot_product"),
    ),
    fixed(
        "NONLOCAL.LOCATION",
        [],
        'Blocks of the backbone that one follows, by name, e.g. ["layer2.0", "layer3.4"]; empty: as in the '
        "paper.",
        NAMES,
    ),
    fixed(
        "NONLOCAL.USE_SCALE",
        False,
        "Divide by the square root of the inner width before the softmax of the embedded Gaussian.",
    ),
    fixed("NONLOCAL.SUB_SAMPLE", True, "Pool keys and values over 2x2 pixels."),
    Key(
        "NONLOCAL.ACT_CHECKPOINT",
        False,
        "As MODEL.ACT_CHECKPOINT, only of the blocks that a non-local block follows, together with it.",
    ),
)
