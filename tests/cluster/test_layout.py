import pytest

from cluster.layout import Worker, workers

ONE_EACH = {"dkim": 1, "policy": 1, "classifier": 1}


def test_a_small_node_runs_all_actors_in_one_process() -> None:
    assert workers(ONE_EACH, "auto", cores=2) == (Worker("worker-0", ("dkim", "policy", "classifier")),)


def test_a_large_node_runs_each_replica_in_a_process_of_its_own() -> None:
    sizes = {"dkim": 1, "policy": 2}
    split = (Worker("dkim-0", ("dkim",)), Worker("policy-0", ("policy",)), Worker("policy-1", ("policy",)))
    assert workers(sizes, "auto", cores=64) == split


@pytest.mark.parametrize(("layout", "cores", "processes"), [("fused", 64, 1), ("split", 2, 3)])
def test_the_configured_layout_counts_more_than_the_cores(layout: str, cores: int, processes: int) -> None:
    assert len(workers(ONE_EACH, layout, cores)) == processes


def test_fused_processes_run_as_many_replicas_of_each_pool_as_it_has() -> None:
    fused = workers({"dkim": 1, "policy": 2, "antivirus": 0}, "fused", cores=2)
    assert fused == (Worker("worker-0", ("dkim", "policy")), Worker("worker-1", ("policy",)))


def test_no_pools_need_no_processes() -> None:
    assert workers({}, "fused", cores=2) == ()
