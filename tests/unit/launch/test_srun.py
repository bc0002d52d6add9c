import pytest

from tsn_tsm_plugin.distributed import init_process_group_from_env
from tsn_tsm_plugin.errors import ConfigError


def test_one_of_several_srun_processes_refuses_to_run_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")

    with pytest.raises(ConfigError, match="srun started 4 processes, but WORLD_SIZE is not set"):
        init_process_group_from_env()
