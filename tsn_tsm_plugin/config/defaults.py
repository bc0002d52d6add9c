"""The schema: every key a recipe may set, with its meaning, unit and default.

Keys carry SlowFast's names where the concept is SlowFast's; what TSN and TSM add lives in the nodes
``TSN``, ``TSM`` and ``AUG``. Floats are written with a point, lists hold one type, no default is ``None``.
"""

from tsn_tsm_plugin.config.node import CfgNode

_C = CfgNode()

# Run folder. Empty: runs/<method>/<name of the recipe file>, below the current directory.
_C.OUTPUT_DIR = ""
# Seed of weights, order of the videos, augmentation and dropout.
_C.RNG_SEED = 0
# Use only algorithms that give the same bits for the same input; slower on GPUs. CPUs always do.
_C.DETERMINISTIC = False
# Steps between two lines of metrics.
_C.LOG_PERIOD = 10

_C.MODEL = CfgNode()
# "tsn" or "tsm".
_C.MODEL.ARCH = "tsm"
# A registered backbone, see `python -m tsn_tsm_plugin.tools.list_components --kind backbone`.
_C.MODEL.BACKBONE = "resnet50"
# Weights of the backbone before training: "" (random), a name such as torchvision's "IMAGENET1K_V1", or a
# file, by any path that iopath can open.
_C.MODEL.BACKBONE_WEIGHTS = ""
# A registered head (--kind head); "": the method's own.
_C.MODEL.HEAD = ""
_C.MODEL.NUM_CLASSES = 400
# Probability of dropping a feature before the classifier, in [0, 1).
_C.MODEL.DROPOUT_RATE = 0.5
# Standard deviation of the classifier's initial weights, in the method's own head.
_C.MODEL.FC_INIT_STD = 0.001
# Submodules whose weights and statistics stay as they are, e.g. ["backbone.conv1", "backbone.bn1"].
_C.MODEL.FROZEN_MODULES = []
# Freeze every batch norm but the first, as the TSN paper does for small datasets.
_C.MODEL.PARTIAL_BN = False
# Keep the inputs of blocks only and compute the rest again in the backward pass: less memory, more time.
_C.MODEL.ACT_CHECKPOINT = False

_C.BN = CfgNode()
# "batchnorm" (statistics of the clips of one process) or "sync_batchnorm" (of all processes).
_C.BN.NORM_TYPE = "batchnorm"
# After each epoch, replace running statistics by those of NUM_BATCHES_PRECISE batches of each process.
_C.BN.USE_PRECISE_STATS = False
_C.BN.NUM_BATCHES_PRECISE = 200

# Exponential moving average of the weights, which is tested and saved in place of the weights.
_C.EMA = CfgNode()
_C.EMA.ENABLE = False
# Share of the average that a step leaves as it is, in [0, 1).
_C.EMA.DECAY = 0.999

_C.TSN = CfgNode()
# How frames are chosen: "uniform" (one per segment), "dense" (a window of SAMPLE_RANGE frames), or another
# registered sampler, see `python -m tsn_tsm_plugin.tools.list_components --kind sampler`.
_C.TSN.SAMPLING = "uniform"
# The same in testing, where it differs; "": SAMPLING.
_C.TSN.TEST_SAMPLING = ""
# Width of the dense window, in frames.
_C.TSN.SAMPLE_RANGE = 64
# Whether training with uniform sampling may also draw the last `frames mod segments` frames of a video,
# which the references never use.
_C.TSN.KEEP_TAIL_FRAMES = False

_C.TSM = CfgNode()
# One SHIFT_DIV-th of the channels is shifted each way.
_C.TSM.SHIFT_DIV = 8
# "blockres": the first convolution of a residual block sees shifted features; "block": the whole block does.
_C.TSM.SHIFT_PLACE = "blockres"
# Halve the number of frames before the second stage.
_C.TSM.TEMPORAL_POOL = False
# Shift from the past only, so that the network can run on a stream, one frame at a time.
_C.TSM.CAUSAL = False

# Non-local blocks in a TSM.
_C.NONLOCAL = CfgNode()
# "" (none), "embedded_gaussian", "gaussian" or "dot_product".
_C.NONLOCAL.INSTANTIATION = ""
# Blocks of the backbone that one follows, by name, e.g. ["layer2.0", "layer3.4"]; empty: as in the paper.
_C.NONLOCAL.LOCATION = []
# Divide by the square root of the inner width before the softmax of the embedded Gaussian.
_C.NONLOCAL.USE_SCALE = False
# Pool keys and values over 2x2 pixels.
_C.NONLOCAL.SUB_SAMPLE = True
# As MODEL.ACT_CHECKPOINT, only of the blocks that one follows, together with it.
_C.NONLOCAL.ACT_CHECKPOINT = False

_C.DATA = CfgNode()
# Folder of the dataset; lists, label map and videos are looked up below it.
_C.DATA.PATH_TO_DATA_DIR = ""
# How videos are stored: "videos" (one file each), "frames" (a folder of JPEG images each) or "shards" (many
# in one tar file).
_C.DATA.FORMAT = "videos"
# Name of a frame's file within its folder, with one field for its number, and the number of the first.
_C.DATA.FRAME_TEMPLATE = "img_{:05}.jpg"
_C.DATA.FRAME_START_INDEX = 1
# Put before every path of a list; relative to PATH_TO_DATA_DIR.
_C.DATA.PATH_PREFIX = ""
# List files, relative to PATH_TO_DATA_DIR, one line for each video: `path label`, or for frames
# `path number-of-frames label`; for shards one line for each tar file, its path. Empty TEST_LIST: VAL_LIST.
_C.DATA.TRAIN_LIST = "train.txt"
_C.DATA.VAL_LIST = "val.txt"
_C.DATA.TEST_LIST = ""
# Whether lines may end with several labels, all of which the video has.
_C.DATA.MULTI_LABEL = False
# What stands between path and label.
_C.DATA.PATH_LABEL_SEPARATOR = " "
# One class name per line, relative to PATH_TO_DATA_DIR. Empty: classes are numbered.
_C.DATA.LABEL_MAP = ""
# Dataset that is made when PATH_TO_DATA_DIR does not exist: "" (none) or "motion".
_C.DATA.PREPARE = ""
# Frames of one view in training and validation; for TSM also in testing.
_C.DATA.NUM_FRAMES = 8
# Decoder: "auto" or a registered name ("pyav", "torchcodec", "decord").
_C.DATA.DECODING_BACKEND = "auto"
# Scale to the short side in the pass of FFmpeg that converts to RGB, in training and in evaluation. Pixels
# differ from those of the references by 1.3 levels on average (brighter by 1.1) and by up to 31. For 8 frames
# of 424x320 that saves 6 of 61 ms in evaluation, whose resize is exact, and costs 2 of 54 ms in training.
_C.DATA.SCALE_IN_DECODER = False
# Unreadable videos that an epoch may leave out before the run stops.
_C.DATA.MAX_BAD_VIDEOS = 0
# Mean and standard deviation of each RGB channel, in 0-255.
_C.DATA.MEAN = [123.675, 116.28, 103.53]
_C.DATA.STD = [58.395, 57.12, 57.375]
# Short side of a frame before the crop, in pixels; 0 keeps the decoded size.
_C.DATA.TRAIN_SHORT_SIDE = 256
_C.DATA.TEST_SHORT_SIDE = 256
# Side of the square crop, in pixels.
_C.DATA.TRAIN_CROP_SIZE = 224
_C.DATA.TEST_CROP_SIZE = 224
# Mirror half of the training clips.
_C.DATA.RANDOM_FLIP = True
# Pairs of labels that a mirror turns into each other, e.g. [[86, 87], [93, 94]].
_C.DATA.FLIP_LABEL_PAIRS = []

_C.AUG = CfgNode()
# Training crop: "multi_scale" (TSN), "random_resized" (Inception) or "center".
_C.AUG.CROP = "multi_scale"
# Scales of the multi-scale crop, relative to the short side.
_C.AUG.CROP_SCALES = [1.0, 0.875, 0.75, 0.66]
# Fixed positions of the multi-scale crop: 5 or 13.
_C.AUG.NUM_FIXED_CROPS = 13
# RandAugment after the flip: "" (none), "imgaug_default" (the Something-Something rows'), or a string of timm
# such as "rand-m9-mstd0.5-inc1".
_C.AUG.AA_TYPE = ""
# Strengths of random brightness, contrast and saturation (0: none; 0.4: factors from 0.6 to 1.4) and of hue
# (in turns of the colour circle, at most 0.5).
_C.AUG.COLOR_JITTER = [0.0, 0.0, 0.0, 0.0]
# Probability of erasing boxes of random area, shape and place.
_C.AUG.RE_PROB = 0.0
# What fills them: "pixel" (noise), "rand" (one colour per frame) or "const" (the mean colour).
_C.AUG.RE_MODE = "pixel"
# Largest number of boxes.
_C.AUG.RE_COUNT = 1
# Other boxes in every frame instead of the same ones in all.
_C.AUG.RE_PER_FRAME = False

# Mixing of the clips of a batch and of their labels, after normalisation.
_C.MIXUP = CfgNode()
_C.MIXUP.ENABLE = False
# MixUp's weight is drawn from Beta(ALPHA, ALPHA), CutMix's area from Beta(CUTMIX_ALPHA, CUTMIX_ALPHA);
# 0 leaves the one or the other out.
_C.MIXUP.ALPHA = 0.8
_C.MIXUP.CUTMIX_ALPHA = 1.0
# Probability of mixing, and of CutMix rather than MixUp.
_C.MIXUP.PROB = 1.0
_C.MIXUP.SWITCH_PROB = 0.5
# Share of a label that is spread over all classes, in [0, 1); SlowFast's default is 0.1, the references' 0.
_C.MIXUP.LABEL_SMOOTH_VALUE = 0.0
# Draw for each clip instead of once for the batch.
_C.MIXUP.PER_SAMPLE = False

_C.DATA_LOADER = CfgNode()
# Worker processes of each rank; 0 reads in the training process.
_C.DATA_LOADER.NUM_WORKERS = 8
_C.DATA_LOADER.PIN_MEMORY = True
# How workers start: "fork", "spawn" or "forkserver".
_C.DATA_LOADER.START_METHOD = "fork"

_C.TRAIN = CfgNode()
# Clips in a step, over all processes.
_C.TRAIN.BATCH_SIZE = 64
# How often an epoch reads the list of videos.
_C.TRAIN.NUM_REPEATS = 1
# Draw every class equally often instead of every video once; an epoch has the same length.
_C.TRAIN.CLASS_BALANCED = False
# Drop the videos that do not fill an epoch's last step, instead of filling it with videos from its start.
_C.TRAIN.DROP_LAST = False
# Epochs between validations; 0 never validates.
_C.TRAIN.EVAL_PERIOD = 5
# Clips that a process puts through the model at once; a larger batch goes through in equal parts whose
# gradients add up. 0: no limit.
_C.TRAIN.MAX_CLIPS_PER_FORWARD = 0
# Precision of the forward pass: "off" (float32), "bf16", or "fp16" with a scaled loss.
_C.TRAIN.MIXED_PRECISION = "off"
# Compile the network with torch.compile; where that fails, the run goes on without.
_C.TRAIN.COMPILE = False
# Steps in a row whose gradients may be infinite or not a number, left out, before the run stops.
_C.TRAIN.MAX_BAD_STEPS = 3
# Epochs between checkpoints; besides these, one every so many minutes and steps within an epoch (0: none).
_C.TRAIN.CHECKPOINT_PERIOD = 1
_C.TRAIN.CHECKPOINT_MINUTES = 30.0
_C.TRAIN.CHECKPOINT_STEPS = 0
# Seconds after a stop signal that the run may go on to the end of its step and save; then it is ended. Jobs
# of the launcher follow its own options.
_C.TRAIN.STOP_GRACE_SECONDS = 120.0
# Newest checkpoints to keep, besides the best; a second one stands in for a damaged newest.
_C.TRAIN.KEEP_CHECKPOINTS = 2
# Go on from the newest checkpoint of the run folder.
_C.TRAIN.AUTO_RESUME = True
# Weights to start from, in any format that `load_weights` reads, at any path that iopath can fetch.
_C.TRAIN.CHECKPOINT_FILE_PATH = ""
# Leave its classifier out and start with a fresh one, to fine-tune on other classes.
_C.TRAIN.CHECKPOINT_IGNORE_HEAD = False
# In what its network may differ from this one, e.g. ["num_segments"] or ["causal"]; see `load_weights`.
_C.TRAIN.CHECKPOINT_IGNORE_FACTS = []

# How the processes of a run average their gradients (PyTorch's DistributedDataParallel); one alone has nobody
# to ask.
_C.DDP = CfgNode()
# Precision in which gradients travel and are added up: "off" (their own) or "bf16" (half the bytes).
_C.DDP.GRADIENT_COMPRESSION = "off"
# MiB of gradients that travel together; smaller ones start earlier, larger ones are fewer.
_C.DDP.BUCKET_CAP_MB = 25.0
# Promise that all steps run the same operations, which spares a look for unused weights at each of them.
_C.DDP.STATIC_GRAPH = False
# Let gradients lie in the buckets that travel: one copy of them less in memory.
_C.DDP.GRADIENT_AS_BUCKET_VIEW = True

_C.TEST = CfgNode()
# Videos in a step, over all processes.
_C.TEST.BATCH_SIZE = 8
# Weights to test, likewise; empty: the newest checkpoint of the run folder.
_C.TEST.CHECKPOINT_FILE_PATH = ""
# Frames of one view at test time; 0: DATA.NUM_FRAMES. TSN tests with more frames than it trains with.
_C.TEST.NUM_FRAMES = 0
# A named protocol, which sets NUM_ENSEMBLE_VIEWS, NUM_SPATIAL_CROPS and DATA.TEST_CROP_SIZE: "" (none),
# "efficient" (1 view, centre crop of the training size) or "accurate" (twice-sampled, 3 crops of the short
# side), as Something-Something is tested.
_C.TEST.PROTOCOL = ""
# Views in time. Uniform sampling: 1, or 2 (segment centres and segment starts, "twice sample").
# Dense sampling: windows over the video.
_C.TEST.NUM_ENSEMBLE_VIEWS = 1
# Views in space: 1 (centre), 3 (along the longer side) or 10 (corners and centre, each mirrored).
_C.TEST.NUM_SPATIAL_CROPS = 1
# File that gets the scores of every video and view: .pkl, .json or .csv; "": none. Relative to OUTPUT_DIR.
_C.TEST.SAVE_RESULTS_PATH = ""
# Frames that go through the model at once, of all views of the videos in a step; at least one view does.
# 0: no limit.
_C.TEST.MAX_FRAMES_PER_FORWARD = 0
# How views are averaged: "logits", "probabilities", or "auto" (as the references: TSN averages features,
# which equals logits; TSM averages probabilities).
_C.TEST.VIEW_AVERAGE = "auto"

_C.SOLVER = CfgNode()
# "sgd" (the papers'), "adamw" or "lars".
_C.SOLVER.OPTIMIZING_METHOD = "sgd"
# Learning rate for the batch of TRAIN.BATCH_SIZE clips; with AUTO_SCALE_LR for that of BASE_BATCH_SIZE clips,
# multiplied by TRAIN.BATCH_SIZE / BASE_BATCH_SIZE.
_C.SOLVER.BASE_LR = 0.01
_C.SOLVER.AUTO_SCALE_LR = False
_C.SOLVER.BASE_BATCH_SIZE = 64
_C.SOLVER.MOMENTUM = 0.9
_C.SOLVER.NESTEROV = False
# Decay rates of AdamW's moment estimates.
_C.SOLVER.BETAS = [0.9, 0.999]
_C.SOLVER.WEIGHT_DECAY = 1e-4
# Parameter groups: "tsn" (one group) or "tsm" (seven: biases, norms and classifier apart).
_C.SOLVER.PARAM_GROUPS = "tsm"
# With the seven groups: train the classifier's weight at 5 times and its bias at 10 times the learning rate.
_C.SOLVER.FC_LR5 = True
# "steps_with_relative_lrs" or "cosine".
_C.SOLVER.LR_POLICY = "steps_with_relative_lrs"
# First epoch of each step; the first is 0.
_C.SOLVER.STEPS = [0, 20, 40]
# Learning rate of each step, relative to BASE_LR.
_C.SOLVER.LRS = [1.0, 0.1, 0.01]
# Change the learning rate at every step (SlowFast) instead of at every epoch (the references).
_C.SOLVER.LR_PER_STEP = False
# Learning rate at the end of the cosine, relative to BASE_LR.
_C.SOLVER.COSINE_END_LR = 0.0
_C.SOLVER.MAX_EPOCH = 50
# Epochs of linear warm-up and the factor it starts from.
_C.SOLVER.WARMUP_EPOCHS = 0.0
_C.SOLVER.WARMUP_START_FACTOR = 0.1
# Total gradient norm above which gradients are scaled down; 0 never.
_C.SOLVER.CLIP_GRAD_L2NORM = 20.0
# Share of the target that is spread over all classes, in [0, 1).
_C.SOLVER.LABEL_SMOOTHING = 0.0

_C.TENSORBOARD = CfgNode()
_C.TENSORBOARD.ENABLE = True


def get_cfg() -> CfgNode:
    """Return a fresh, unfrozen copy of the schema with its defaults.

    Example:
        >>> cfg = get_cfg()
        >>> cfg.MODEL.ARCH, cfg.DATA.NUM_FRAMES
        ('tsm', 8)
    """
    return _C.clone()
