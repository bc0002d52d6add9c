"""evaluation_config: a config whose run folder is named after what is evaluated, by content.

Equal weights, settings and lists have the same folder, so that an existing result is used again. A file with
the same name but other content has another folder.
"""

from hashlib import file_digest, sha256
from pathlib import Path

from tsn_tsm_plugin.checkpoints.zoo import is_fetched
from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.errors import TsnTsmError
from tsn_tsm_plugin.paths import open_regular, read_bytes

from ..errors import LaunchError

_NUM_DIGITS = 10
# Keys that name files and folders; the folder's name depends on the files' content instead.
_PATH_KEYS = ("OUTPUT_DIR", "TEST.OUTPUT_DIR", "TEST.CHECKPOINT_FILE_PATH")


def evaluation_config(cfg: CfgNode, weights: str, folder: Path) -> CfgNode:
    """Return a config that evaluates ``weights`` into a folder below ``folder``.

    Args:
        cfg: The recipe.
        weights: File, URL or row of the model zoo; URLs and rows count by name, not by content.
        folder: Parent of the run folder ``NAME-DIGITS``.
    """
    run_dir = folder.absolute() / f"{Path(weights).stem}-{_identity(cfg, weights)}"
    return cfg.changed(dict(zip(_PATH_KEYS, (str(run_dir), str(run_dir), weights), strict=True)))


def _identity(cfg: CfgNode, weights: str) -> str:
    digest = sha256(cfg.changed(dict.fromkeys(_PATH_KEYS, "")).dump().encode())
    digest.update(_content(weights))
    digest.update(_list_content(cfg))
    return digest.hexdigest()[:_NUM_DIGITS]


def _content(weights: str) -> bytes:
    if is_fetched(weights):
        return weights.encode()
    try:
        with open_regular(weights) as file:
            return file_digest(file, "sha256").digest()
    except OSError as error:
        raise LaunchError(f"--weights {weights}: cannot be read ({error.strerror or error}).") from error


def _list_content(cfg: CfgNode) -> bytes:
    # Imported here: commands that submit nothing need not wait for torch.
    from tsn_tsm_plugin.data.build import is_data_at_hand, list_path

    if not is_data_at_hand(cfg):
        return b""
    try:
        return read_bytes(list_path(cfg, "test"))
    except (OSError, TsnTsmError):
        # Datasets of other packages may need no list; checks report a missing list.
        return b""
