"""RUN_KEYS: keys of training, the solver and logging."""

from tsn_tsm_plugin.config.key import (
    NAMES,
    ON_THIS_MACHINE,
    SHARE,
    Key,
    Rule,
    at_least,
    fixed,
    fixed_within_epoch,
    free,
    numbers_for,
    one_of,
)

RUN_KEYS = (
    free(
        "OUTPUT_DIR",
        "",
        'Run folder; "": runs/<method>/<name of the recipe file>, below the current directory.',
        ON_THIS_MACHINE,
    ),
    fixed_within_epoch("RNG_SEED", 0, "Seed of weights, order of the videos, augmentation and dropout."),
    Key(
        "DETERMINISTIC",
        False,
        "Use only algorithms that give the same bits for the same input; slower on GPUs. CPUs always do.",
    ),
    free(
        "LOGGERS",
        [],
        "Registered loggers that get the numbers of a run besides metrics.jsonl, as csv, wandb or mlflow: "
        'by name or as {name: wandb, options: {project: "mine"}}.',
        component="logger",
    ),
    free("LOG_PERIOD", 10, "Steps between two lines of metrics.", at_least(1)),
    fixed_within_epoch("TRAIN.BATCH_SIZE", 64, "Clips in a step, over all processes.", at_least(1)),
    fixed_within_epoch("TRAIN.NUM_REPEATS", 1, "How often an epoch reads the list of videos.", at_least(1)),
    fixed_within_epoch(
        "TRAIN.CLASS_BALANCED",
        False,
        "Draw every class equally often instead of every video once; an epoch has the same length.",
    ),
    fixed_within_epoch(
        "TRAIN.CLASS_POWER",
        0.0,
        "With CLASS_BALANCED: draw a class in proportion to this power of its number of videos. 0: classes "
        "equally often; 1: videos equally often.",
        at_least(0),
    ),
    fixed_within_epoch(
        "TRAIN.DROP_LAST",
        False,
        "Drop the videos that do not fill an epoch's last step, instead of filling it with videos from its "
        "start.",
    ),
    Key("TRAIN.EVAL_PERIOD", 5, "Epochs between validations; 0 never validates.", at_least(0)),
    Key(
        "TRAIN.EARLY_STOP_PATIENCE",
        0,
        "End the run after this many validations in a row that are not the best; 0: train all epochs.",
        at_least(0),
    ),
    Key(
        "TRAIN.MAX_CLIPS_PER_FORWARD",
        0,
        "Clips that a process puts through the model at once; a larger batch goes through in equal parts "
        "whose gradients add up. 0: no limit; -1: as many as fit into memory.",
        at_least(-1),
    ),
    Key(
        "TRAIN.MIXED_PRECISION",
        "off",
        'Precision of the forward pass: "off" (float32), "bf16", or "fp16" with a scaled loss.',
        one_of("off", "bf16", "fp16"),
    ),
    Key(
        "TRAIN.COMPILE",
        False,
        "Compile forward pass and loss with torch.compile; if that fails, the run goes on without.",
    ),
    Key(
        "TRAIN.COMPILE_MODE",
        "default",
        'Mode of torch.compile; "reduce-overhead" replays each step on a GPU as one CUDA graph.',
        one_of("default", "reduce-overhead", "max-autotune"),
    ),
    Key(
        "TRAIN.MAX_NONFINITE_STEPS",
        3,
        "Consecutive steps with infinite or NaN gradients that are skipped before the run stops.",
        at_least(0),
        formerly="TRAIN.MAX_BAD_STEPS",
    ),
    free("TRAIN.CHECKPOINT_PERIOD", 1, "Epochs between checkpoints.", at_least(1)),
    free(
        "TRAIN.CHECKPOINT_MINUTES",
        30.0,
        "Minutes between checkpoints within an epoch; 0: none.",
        at_least(0),
    ),
    free("TRAIN.CHECKPOINT_STEPS", 0, "Steps between checkpoints within an epoch; 0: none.", at_least(0)),
    free(
        "TRAIN.STOP_GRACE_SECONDS",
        120.0,
        "Seconds after a stop signal that the run may go on to the end of its step and save; then it is "
        "ended. Jobs of the launcher follow its own options.",
        at_least(0),
    ),
    free(
        "TRAIN.KEEP_CHECKPOINTS",
        2,
        "Newest checkpoints to keep in addition to the best; the second replaces a damaged newest.",
        at_least(1),
    ),
    free("TRAIN.AUTO_RESUME", True, "Go on from the newest checkpoint of the run folder."),
    Key(
        "TRAIN.CHECKPOINT_FILE_PATH",
        "",
        "Weights to start from, in any format that `load_weights` reads, at any path that iopath can fetch.",
    ),
    Key(
        "TRAIN.CHECKPOINT_IGNORE_HEAD",
        False,
        "Leave its classifier out and start with a fresh one, to fine-tune on other classes.",
    ),
    Key(
        "TRAIN.CHECKPOINT_ALLOW_MISMATCH",
        [],
        'Attributes in which its network may differ, e.g. ["num_segments"] or ["causal"]; see '
        "`load_weights`.",
        NAMES,
        formerly="TRAIN.CHECKPOINT_IGNORE_FACTS",
    ),
    Key(
        "DDP.GRADIENT_COMPRESSION",
        "off",
        'Precision in which gradients travel between processes: "off" (their own) or "bf16" (half the '
        "bytes).",
        one_of("off", "bf16"),
    ),
    Key(
        "DDP.BUCKET_CAP_MB",
        25.0,
        "MiB of gradients that travel together; smaller ones start earlier, larger ones are fewer.",
        at_least(1),
    ),
    Key(
        "DDP.STATIC_GRAPH",
        False,
        "Declare that all steps run the same operations; skips the per-step search for unused parameters.",
    ),
    Key(
        "DDP.GRADIENT_AS_BUCKET_VIEW",
        True,
        "Let gradients lie in the buckets that travel: one copy of them less in memory.",
    ),
    fixed(
        "SOLVER.OPTIMIZING_METHOD",
        "sgd",
        'A registered optimiser: "sgd" (the papers\'), "adamw", "lars" or another; or `timm/NAME`.',
        component="optimizer",
    ),
    Key("SOLVER.OPTIMIZER_OPTIONS", {}, "Additional keyword arguments of the optimiser."),
    Key(
        "SOLVER.BASE_LR",
        0.01,
        "Learning rate for the batch of TRAIN.BATCH_SIZE clips; with AUTO_SCALE_LR for a batch of "
        "BASE_BATCH_SIZE clips.",
        at_least(0),
    ),
    Key("SOLVER.AUTO_SCALE_LR", False, "Multiply BASE_LR by TRAIN.BATCH_SIZE / BASE_BATCH_SIZE."),
    Key("SOLVER.BASE_BATCH_SIZE", 64, "Clips that BASE_LR is meant for.", at_least(1)),
    Key("SOLVER.MOMENTUM", 0.9, "Momentum of SGD and LARS.", at_least(0)),
    Key("SOLVER.NESTEROV", False, "Nesterov's momentum, of SGD and LARS."),
    Key(
        "SOLVER.BETAS",
        [0.9, 0.999],
        "Decay rates of AdamW's moment estimates.",
        numbers_for("gradient", "square"),
    ),
    Key("SOLVER.WEIGHT_DECAY", 1e-4, "Weight decay.", at_least(0)),
    fixed(
        "SOLVER.PARAM_GROUPS",
        "tsm",
        'Parameter groups: "tsn" (one group) or "tsm" (seven: biases, norms and classifier apart).',
        one_of("tsn", "tsm"),
    ),
    Key(
        "SOLVER.CLASSIFIER_LR_MULT",
        5.0,
        "With the seven groups: factor on the learning rate of the classifier's weight; its bias has twice "
        "that. 1 trains it as the rest.",
        at_least(0),
        formerly="SOLVER.FC_LR5",
    ),
    fixed(
        "SOLVER.LAYER_DECAY",
        1.0,
        "Factor on the learning rate for each stage of the backbone, from the last one to the stem; 1: none.",
        Rule("be in (0, 1]", lambda value: 0.0 < value <= 1.0),
    ),
    Key(
        "SOLVER.LR_POLICY",
        "steps_with_relative_lrs",
        'How the learning rate falls: "steps_with_relative_lrs", "cosine", "poly" or another registered '
        "policy.",
        component="lr_policy",
    ),
    Key("SOLVER.LR_POLICY_OPTIONS", {}, "Additional keyword arguments of the policy."),
    Key(
        "SOLVER.STEPS",
        [0, 20, 40],
        "First epoch of each step; the first is 0.",
        Rule(
            "start with 0 and rise",
            lambda steps: steps[:1] == [0] and steps == sorted(set(steps)),
        ),
    ),
    Key("SOLVER.LRS", [1.0, 0.1, 0.01], "Learning rate of each step, relative to BASE_LR."),
    Key(
        "SOLVER.LR_PER_STEP",
        False,
        "Change the learning rate at every step (SlowFast) instead of at every epoch (the references).",
    ),
    Key("SOLVER.COSINE_END_LR", 0.0, "Learning rate at the end of cosine and poly, relative to BASE_LR."),
    Key(
        "SOLVER.COSINE_AFTER_WARMUP",
        False,
        "Start cosine and poly at the end of the warm-up instead of together with it.",
    ),
    Key("SOLVER.POLY_POWER", 1.0, "Power of the remaining fraction of the run, for poly.", at_least(0)),
    Key("SOLVER.MAX_EPOCH", 50, "Epochs of the run.", at_least(1)),
    Key("SOLVER.WARMUP_EPOCHS", 0.0, "Epochs of linear warm-up.", at_least(0)),
    Key("SOLVER.WARMUP_START_FACTOR", 0.1, "Factor on the learning rate that the warm-up starts from."),
    Key(
        "SOLVER.CLIP_GRAD_L2NORM",
        20.0,
        "Total gradient norm above which gradients are scaled down; 0 never.",
        at_least(0),
    ),
    Key("SOLVER.LABEL_SMOOTHING", 0.0, "Share of the target that is spread over all classes.", SHARE),
    Key(
        "SOLVER.CLASS_WEIGHTS",
        "",
        'Weights of the classes in the loss: "" (all 1), or "balanced" (inverse to the training videos of '
        "each class). MODEL.LOSS_OPTIONS may hold `class_weights`, one number for each class.",
        one_of("", "balanced"),
    ),
    free("TENSORBOARD.ENABLE", True, "Write TensorBoard events: the logger tensorboard."),
)
