"""stage_data: copy the shards of a recipe to the disk of each node before the first step."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from tsn_tsm_plugin import distributed
from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.data.build import split_lists
from tsn_tsm_plugin.data.shards import shards_of_list
from tsn_tsm_plugin.data.stage_shards import copy_shards, staging_folder
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.paths import is_url
from tsn_tsm_plugin.ranks import Ranks

logger = get_logger(__name__)

_POLL_SECONDS = 0.5
# Lines in a log without a bar.
_NUM_LINES = 20


def stage_data(cfg: CfgNode, splits: Sequence[str], ranks: Ranks) -> None:
    """Copy the shards of splits into ``DATA.STAGE_TO``; do nothing if the key is empty.

    The first rank of each node copies. All ranks wait for the slowest node without a time limit, and exchange
    messages meanwhile, so that no collective times out.

    Args:
        cfg: The recipe.
        splits: Some of ``"train"``, ``"val"`` and ``"test"``.
        ranks: Ranks; all of them call this function.

    Raises:
        ConfigError: If the copy fails on any rank.
    """
    if not cfg.DATA.STAGE_TO:
        return
    faults: list[str] = []
    work = threading.Thread(target=_copy, args=(cfg, splits, ranks, faults), daemon=True)
    work.start()
    while any(ranks.gather(work.is_alive())):
        time.sleep(_POLL_SECONDS)
    found = [fault for part in ranks.gather(faults) for fault in part]
    if found:
        raise ConfigError(found[0])


def _copy(cfg: CfgNode, splits: Sequence[str], ranks: Ranks, faults: list[str]) -> None:
    if distributed.local_rank():
        return
    try:
        lists = dict.fromkeys(pair for split in splits for pair in split_lists(cfg, split))
        shards = dict.fromkeys(s for path, prefix in lists for s in shards_of_list(path, prefix=prefix))
        local = [shard for shard in shards if not is_url(shard)]  # iopath caches URLs.
        total = sum(Path(shard).stat().st_size for shard in local)
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            before, done = done, done + count
            bar.update(count)
            if before * _NUM_LINES // total < done * _NUM_LINES // total:
                of, all_of = (tqdm.format_sizeof(number, "B") for number in (done, total))
                line = f"stage shards: {of} of {all_of} ({100 * done // total} %)"
                logger.info(line, extra={"is_progress": True})

        bar = tqdm(
            total=total, desc="stage shards", unit="B", unit_scale=True, leave=False,
            disable=None if ranks.is_main else True,
        )  # fmt: skip
        with bar:
            copy_shards(local, staging_folder(cfg.DATA.STAGE_TO), advance=advance)
    except Exception as error:  # The other ranks wait for a message.
        faults.append(str(error))
