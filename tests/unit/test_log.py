import logging
from pathlib import Path

import pytest

from tsn_tsm_plugin.log import get_logger, setup_logging


@pytest.fixture
def say(capsys):
    """Logs a line of each kind, and returns those that are shown."""

    def lines() -> list[str]:
        logger = get_logger("tsn_tsm_plugin.tools.mine")
        logger.info("seen")
        logger.warning("beware")
        return capsys.readouterr().err.splitlines()

    yield lines
    root = logging.getLogger("tsn_tsm_plugin")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.NOTSET)
    root.propagate = True


def test_a_process_alone_shows_information_and_warnings(say):
    setup_logging()
    shown, warned = say()
    assert shown.endswith("I tools.mine: seen") and warned.endswith("W tools.mine: beware")


def test_a_quiet_command_shows_warnings_and_names_no_rank(say):
    setup_logging(quiet=True)
    [warned] = say()
    assert warned.endswith("W tools.mine: beware") and not warned.startswith("[rank")


def test_other_ranks_show_warnings_with_their_number(say):
    setup_logging(rank=3)
    [warned] = say()
    assert warned.endswith("W tools.mine: beware") and warned.startswith("[rank 3] ")


def test_no_command_poses_as_a_rank_to_be_quiet(repository: Path):
    tools = sorted((repository / "tsn_tsm_plugin" / "tools").glob("*.py"))
    assert tools and not [path.name for path in tools if "setup_logging(rank=" in path.read_text()]
