from launch.rank.outcome import (
    FINISHED,
    RAISED,
    UNHEALTHY,
    Outcome,
    describe,
    first_failure,
    killed_ranks,
    unhealthy_nodes,
    write_outcome,
)


def test_the_first_error_by_time_is_the_cause(tmp_path):
    write_outcome(tmp_path, 3, RAISED, error="CUDA error")
    write_outcome(tmp_path, 0, RAISED, error="Connection closed by peer")

    assert first_failure(tmp_path).rank == 3


def test_a_rank_that_srun_saw_killed_and_that_left_no_word_is_the_cause(tmp_path):
    write_outcome(tmp_path, 0, RAISED, error="Connection closed by peer")
    log = (
        "srun: error: n3: task 2: Killed\n"
        "srun: error: n1: task 0: Exited with exit code 1\n"
        "srun: error: n2: tasks 1,3: Terminated\n"
    )

    failure = first_failure(tmp_path, log)

    assert (failure.rank, failure.node) == (2, "n3")
    assert "out of memory" in failure.error


def test_ranks_that_srun_ended_because_of_another_are_not_guilty():
    log = (
        "srun: error: n1: tasks 0-2,5: Exited with exit code 143\n"
        "srun: error: n4: task 4: Exited with exit code 7"
    )

    assert killed_ranks(log) == [(4, "n4", "Exited with exit code 7")]


def test_a_job_whose_ranks_finished_has_no_failure(tmp_path):
    write_outcome(tmp_path, 0, FINISHED)

    assert first_failure(tmp_path) is None


def test_a_failure_is_shown_with_rank_node_and_its_last_lines():
    failure = Outcome(2, "n3", RAISED, "\n".join(f"line {number}" for number in range(50)))

    assert describe(failure, num_lines=2) == "first error: rank 2 on n3\n  line 48\n  line 49"


def test_a_failure_without_a_node_to_blame_names_no_node(tmp_path):
    write_outcome(tmp_path, 0, UNHEALTHY, error="no connection", node="")

    assert unhealthy_nodes(tmp_path) == []
    assert describe(first_failure(tmp_path)) == "first error: rank 0\n  no connection"
