"""Prepare a dataset for training: videos, list files and label map.

tsn-tsm-prepare-dataset motion --out data/motion
tsn-tsm-prepare-dataset sthv2 --annotations DIR --videos DIR --out data/sthv2
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tsn_tsm_plugin.log import get_logger, setup_logging
from tsn_tsm_plugin.safe_text import printed_lines
from tsn_tsm_plugin.tools.arguments import path_here
from tsn_tsm_plugin.tools.command import HelpFormatter, ToolParser, run_command

if TYPE_CHECKING:
    from tsn_tsm_plugin.data.preparation.annotations import Annotations
    from tsn_tsm_plugin.data.preparation.convert import Conversion

logger = get_logger(__name__)


def _add_dataset(
    datasets: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    prepare: Callable[[argparse.Namespace], None],
    title: str,
    description: str,
    *,
    has_workers: bool = True,
) -> argparse.ArgumentParser:
    parser = datasets.add_parser(name, help=title, description=description, formatter_class=HelpFormatter)
    parser.set_defaults(prepare=prepare)
    parser.add_argument("--out", type=path_here, required=True, metavar="DIR", help="folder to write")
    if has_workers:
        parser.add_argument(
            "--num-workers", type=int, help="worker processes; 0: this process only (default: one per core)"
        )
    return parser


def _add_motion(datasets: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _add_dataset(
        datasets,
        "motion",
        _prepare_motion,
        "create the embedded dataset of moving, turning and growing objects",
        "Make the embedded motion dataset: small H.264 files in 8 classes that are 4 pairs, each the other "
        "played backwards.",
    )
    parser.add_argument("--num-train", type=int, default=1000, help="training clips")
    parser.add_argument("--num-val", type=int, default=240, help="validation clips")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same files (default: 0)")


def _prepare_motion(args: argparse.Namespace) -> None:
    # Import late, so that --help and usage errors do not wait for torch.
    from tsn_tsm_plugin.data.motion.dataset import prepare_motion

    prepare_motion(
        args.out, num_train=args.num_train, num_val=args.num_val, seed=args.seed, num_workers=args.num_workers
    )


def _add_official(datasets: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from tsn_tsm_plugin.data.preparation.catalog import OFFICIAL_DATASETS

    for name, dataset in OFFICIAL_DATASETS.items():
        stored = "folders of JPEG frames" if dataset.template else "video files"
        parser = _add_dataset(
            datasets,
            name,
            _prepare_official,
            f"{dataset.title}, {dataset.num_classes} classes",
            f"Check the {stored} of {dataset.title} against its official annotations. Write list files, "
            "label map, dataset.yaml, and a report of missing and unreadable videos.",
        )
        parser.set_defaults(dataset=name, convert=None)
        parser.add_argument(
            "--annotations", type=path_here, required=True, metavar="DIR", help="folder of the official files"
        )
        parser.add_argument(
            "--videos", type=path_here, required=True, metavar="DIR", help=f"folder of the {stored}"
        )
        if dataset.has_numbered_splits:
            parser.add_argument("--split", type=int, choices=(1, 2, 3), default=1, help="official split")
        if not dataset.template:
            _add_conversion(parser)


def _add_folder(datasets: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _add_dataset(
        datasets,
        "folder",
        _prepare_folder,
        "prepare your own videos, with one folder per class",
        "Read DIR/class/video, or DIR/train/class/video with val and test beside it.",
    )
    parser.add_argument(
        "--videos", type=path_here, required=True, metavar="DIR", help="folder of the classes"
    )
    parser.add_argument(
        "--val-fraction", type=float, default=0.2, help="validation part of each class if DIR is not divided"
    )
    _add_conversion(parser)


def _add_shards(datasets: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _add_dataset(
        datasets,
        "shards",
        _prepare_shards,
        "write the videos of a list into tar files, for file systems that are slow with small files",
        "Write the videos of a list into tar files of webdataset's layout, which DATA.FORMAT shards reads.",
        has_workers=False,
    )
    parser.add_argument("--list", required=True, metavar="FILE", help="lines `path label`; a file or URL")
    parser.add_argument("--videos", required=True, metavar="DIR", help="folder of the paths, or its URL")
    parser.add_argument("--shard-mib", type=int, default=1024, help="size of a tar file, in MiB")
    parser.add_argument("--multi-label", action="store_true", help="each line may have several labels")


def _prepare_shards(args: argparse.Namespace) -> None:
    from tsn_tsm_plugin.data.annotations import read_video_list
    from tsn_tsm_plugin.data.preparation.shard_writer import write_shards

    name = PurePosixPath(args.list).stem
    if (args.out / f"{name}.txt").resolve() == Path(args.list).resolve():
        raise ValueError(f"--out must not be the folder of --list, got {args.out} for both.")
    entries = read_video_list(args.list, prefix=args.videos, multi_label=args.multi_label)
    write_shards(entries, args.out, name=name, max_shard_bytes=args.shard_mib << 20)


def _add_flow(datasets: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _add_dataset(
        datasets,
        "flow",
        _prepare_flow,
        "compute optical flow of the videos of a list, for DATA.MODALITY flow",
        "Compute optical flow with OpenCV (pip install tsn_tsm_plugin[flow]) and write it as folders of "
        "images with lists of them. A run that was stopped goes on.",
    )
    parser.add_argument(
        "--list", nargs="+", required=True, metavar="FILE", help="lines `path label`; files or URLs"
    )
    parser.add_argument("--videos", required=True, metavar="DIR", help="folder of the paths, or its URL")
    parser.add_argument(
        "--method", choices=("tvl1", "dis"), default="tvl1", help="tvl1, as in the papers, or a faster one"
    )
    parser.add_argument("--bound", type=float, default=20.0, help="largest displacement, in pixels")
    parser.add_argument(
        "--short-side", type=int, default=256, help="short side of larger frames, in pixels; 0: unchanged"
    )
    parser.add_argument("--template", default="flow_{}_{:05}.jpg", help="name of an image's file")


def _prepare_flow(args: argparse.Namespace) -> None:
    from tsn_tsm_plugin.data.preparation.flow import FlowExtraction, prepare_flow

    prepare_flow(
        args.list,
        videos_dir=args.videos,
        out_dir=args.out,
        extraction=FlowExtraction(
            method=args.method, bound=args.bound, short_side=args.short_side, template=args.template
        ),
        num_workers=args.num_workers,
    )


def _add_conversion(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("conversion into --out, so that reading few frames is cheap")
    how = group.add_mutually_exclusive_group()
    how.add_argument(
        "--convert",
        choices=("frames", "videos"),
        help="extract JPEG frames, or re-encode as H.264; a stopped conversion can be resumed",
    )
    how.add_argument(
        "--transcode", dest="convert", action="store_const", const="videos", help="short for --convert videos"
    )
    size = group.add_mutually_exclusive_group()
    size.add_argument("--short-side", type=int, default=0, help="of the frames, in pixels (default: kept)")
    size.add_argument("--height", type=int, default=0, help="of the frames, in pixels (default: kept)")
    group.add_argument("--quality", type=int, default=95, help="of JPEG, 1-100")
    group.add_argument("--template", default="img_{:05}.jpg", help="name of a frame's file")
    group.add_argument("--keyframe-interval", type=int, default=12, help="frames of H.264")
    group.add_argument("--crf", type=int, default=20, help="quality of H.264")


def _conversion(args: argparse.Namespace) -> "Conversion | None":
    from tsn_tsm_plugin.data.preparation.convert import FrameExtraction, Resize, Transcoding

    if args.convert is None:
        return None
    resize = Resize(short_side=args.short_side, height=args.height)
    if args.convert == "frames":
        return FrameExtraction(resize=resize, quality=args.quality, template=args.template)
    return Transcoding(resize=resize, keyframe_interval=args.keyframe_interval, crf=args.crf)


def _prepare_official(args: argparse.Namespace) -> None:
    from tsn_tsm_plugin.data.preparation.catalog import OFFICIAL_DATASETS

    dataset = OFFICIAL_DATASETS[args.dataset]
    split = {"split": args.split} if dataset.has_numbered_splits else {}
    annotations = dataset.read(args.annotations, **split)
    if len(annotations.class_names) != dataset.num_classes:
        logger.warning(
            f"{dataset.title} has {dataset.num_classes} classes, but {args.annotations} has "
            f"{len(annotations.class_names)}: published weights have other labels."
        )
    _prepare(dataset.title, annotations, args, dataset=args.dataset, template=dataset.template)


def _prepare_folder(args: argparse.Namespace) -> None:
    from tsn_tsm_plugin.data.preparation.own_data import read_class_folders

    annotations = read_class_folders(args.videos, val_fraction=args.val_fraction)
    _prepare(args.videos.name, annotations, args)


def _prepare(
    title: str, annotations: "Annotations", args: argparse.Namespace, *, dataset: str = "", template: str = ""
) -> None:
    from tsn_tsm_plugin.data.preparation.prepare import prepare_dataset

    prepare_dataset(
        title,
        annotations,
        videos_dir=args.videos,
        out_dir=args.out,
        dataset=dataset,
        template=template,
        conversion=_conversion(args),
        num_workers=args.num_workers,
    )
    logger.info(
        f"Next: tsn-tsm-train --data {args.out}; or name {args.out / 'dataset.yaml'} in _BASE_ of a recipe."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code: 130 after Ctrl-C, 2 after a user error."""
    parser = ToolParser("prepare_dataset", __doc__)
    datasets = parser.add_subparsers(metavar="DATASET", required=True, parser_class=argparse.ArgumentParser)
    _add_motion(datasets)
    _add_official(datasets)
    _add_folder(datasets)
    _add_shards(datasets)
    _add_flow(datasets)
    args = parser.parse_args(argv)
    setup_logging()
    if "num_workers" in args and args.num_workers is None:
        from tsn_tsm_plugin.data.workers import usable_cpus

        args.num_workers = usable_cpus()
    try:
        return run_command(lambda: args.prepare(args))
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {printed_lines(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
