"""Convert a checkpoint of MMAction2 or mit-han-lab into this library's format, and describe it.

    tsn-tsm-convert-checkpoint tsm_r50_1x1x8_50e_kinetics400_rgb.pth tsm.safetensors

The weights are loaded into the network that they belong to, so the written file is known to fit.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsn_tsm_plugin.atomic_files import HINT_FILE, os_errors_as_run_folder_errors, write_atomically
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.tools.arguments import path_here
from tsn_tsm_plugin.tools.command import ToolParser, run_command

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsn_tsm_plugin.models.identify_checkpoint import Identity

_SHOWN = (
    ("method", ("method",)),
    ("backbone", ("backbone",)),
    ("segments", ("num_segments",)),
    ("shift", ("shift_div", "shift_place", "temporal_pool", "causal")),
    ("non-local", ("non_local", "non_local_places", "non_local_sub_sample")),
    ("classes", ("num_classes",)),
    ("dataset", ("dataset",)),
)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = ToolParser("convert_checkpoint", __doc__)
    parser.add_argument("source", metavar="SRC", help="checkpoint in any known format, a file or URL")
    parser.add_argument("destination", type=path_here, metavar="DST", help=".safetensors or .pth to write")
    parser.add_argument(
        "--reparameterize",
        action="store_true",
        help="fold the branches of a MobileOne into single convolutions, for evaluation only",
    )
    parser.add_argument("--dataset", help="training dataset, if the file does not contain it, such as sthv2")
    parser.add_argument("--num-segments", type=int, help="frames of a view, if the file has no such number")
    args = parser.parse_args(argv)
    overrides = {"dataset": args.dataset, "num_segments": args.num_segments}
    return run_command(
        lambda: convert(args.source, args.destination, fold=args.reparameterize, overrides=overrides),
        inputs=[args.source],
    )


def convert(
    source: str | Path, destination: Path, *, fold: bool = False, overrides: dict[str, Any] | None = None
) -> None:
    """Convert a checkpoint and print its description.

    Args:
        source: Checkpoint in any format that ``load_weights`` reads.
        destination: File to write or replace; the suffix selects the format.
        fold: Whether to re-parameterise before writing.
        overrides: Attributes known to the user; ``None`` values are skipped.

    Raises:
        CheckpointError: If the source is not a checkpoint of a TSN or TSM, or contradicts ``overrides``.
    """
    # Import late, so that --help and usage errors do not wait for torch.
    from tsn_tsm_plugin.checkpoints.metadata import ModelAttribute
    from tsn_tsm_plugin.checkpoints.read_checkpoint import read_checkpoint
    from tsn_tsm_plugin.models.deploy.reparameterize import reparameterize
    from tsn_tsm_plugin.models.identify_checkpoint import create_identified, identify
    from tsn_tsm_plugin.models.load_weights import load_weights

    identity = identify(read_checkpoint(source))
    _apply_overrides(identity, overrides or {}, source)
    model: nn.Module = create_identified(identity).eval()
    report = load_weights(model, source)
    if fold:
        try:
            model = reparameterize(model)
        except ValueError as error:
            raise CheckpointError(f"{source}: {error} Remove --reparameterize.") from error
        identity.attributes["reparameterized"] = ModelAttribute(True, "command line")
    _print_identity(identity)
    if report.missing or report.derived:
        print(f"{'note':<12}{report}")
    state_dict = {name: value.contiguous() for name, value in model.state_dict().items()}
    _write(
        state_dict, {name: attribute.value for name, attribute in identity.attributes.items()}, destination
    )
    megabytes = destination.stat().st_size / 2**20
    print(f"{'written':<12}{destination}, {len(state_dict)} tensors, {megabytes:.1f} MiB")


def _apply_overrides(identity: "Identity", overrides: dict[str, Any], source: str | Path) -> None:
    from tsn_tsm_plugin.checkpoints.metadata import ModelAttribute

    for name, value in overrides.items():
        if value is None:
            continue
        attribute = identity.attributes.get(name)
        if (
            attribute is not None
            and attribute.value != value
            and attribute.origin not in ("class count", "file name")
        ):
            raise CheckpointError(f"{source} has {name}={attribute}, not {value}: remove the option.")
        identity.attributes[name] = ModelAttribute(value, "command line")
        identity.assumed.pop(name, None)


def _print_identity(identity: "Identity") -> None:
    print(f"{'format':<12}{identity.format}")
    for title, names in _SHOWN:
        shown = {name: f"{identity.attributes[name]}" for name in names if name in identity.attributes}
        shown |= {name: f"{identity.assumed[name]} (assumed)" for name in names if name in identity.assumed}
        parts = [text if len(names) == 1 else f"{name} {text}" for name, text in shown.items()]
        print(f"{title:<12}{', '.join(parts) or ('unknown' if title == 'dataset' else 'none')}")


def _write(state_dict: "dict[str, Tensor]", attributes: dict[str, Any], destination: Path) -> None:
    import torch

    from tsn_tsm_plugin.checkpoints.read_checkpoint import FORMAT
    from tsn_tsm_plugin.checkpoints.safetensors_file import to_safetensors

    if destination.suffix == ".safetensors":
        content = to_safetensors(state_dict, attributes=attributes)
    else:
        # Save to memory first: torch hides the reason of a disk error.
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, "model_state": state_dict, "facts": attributes}, buffer)
        content = buffer.getvalue()
    with os_errors_as_run_folder_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(destination, binary=True, hint=HINT_FILE) as file:
        file.write(content)


if __name__ == "__main__":
    raise SystemExit(main())
