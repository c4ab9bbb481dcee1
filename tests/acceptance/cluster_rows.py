"""The lines of `make accept-cluster` that are tests: what must hold, and which tests prove it.

A row whose tests are not named yet is `short`.
"""

from tests.acceptance.pytests import Row
from tests.acceptance.rows import Group

CLUSTER = "tests/cluster"

PLACES = Group(
    "places",
    60,
    (
        Row("layout_by_cores", ()),
        Row("ingress_many_per_node", ()),
        Row("pools_desired_state", ()),
        Row("health_by_real_work", ()),
        Row("restart_with_back_off", ()),
        Row("rolling_replacement", ()),
        Row("supervisor_survives_its_own_death", ()),
    ),
)
NODES = Group(
    "nodes",
    60,
    (
        Row("gcs_in_redis", ()),
        Row("ray_token_and_tls", ()),
        Row("fixed_ports", ()),
        Row("head_dies_data_path_goes_on", ()),
        Row("nodes_join_and_leave", ()),
        Row("scale_1_to_4_nodes_and_back", ()),
    ),
)
CONTROL = Group(
    "control",
    600,
    (
        Row("scaling_is_a_pure_function", ()),
        Row("admission_by_queue_delay", ()),
        Row("optional_actors_shed_first", ()),
        Row("fair_share_per_tenant", ()),
        Row("early_verdict_when_nothing_can_change", ()),
        Row("status_drain_reload_rollout", ("tests/live/test_admin.py", "tests/cli/test_admin.py")),
        Row(
            "admin_needs_authorisation",
            (
                f"{CLUSTER}/admin/test_access.py",
                f"{CLUSTER}/admin/test_service.py",
                "tests/live/test_admin.py::test_a_stranger_and_a_viewer_change_nothing",
            ),
        ),
    ),
)
VERSIONS = Group(
    "versions",
    480,
    (
        Row(
            "mirror_and_diff_report",
            (f"{CLUSTER}/mirror/test_live.py", f"{CLUSTER}/mirror/test_copies.py", "tests/cli/test_mirror.py"),
        ),
        Row("recorded_frames_decode", ("tests/contract/test_frames.py", "tests/contract/test_breaking.py")),
        Row("rolling_upgrade_under_load", ("tests/contract/test_rolling_upgrade.py",)),
    ),
)
BAD_INPUT = Group(
    "bad_input",
    60,
    (
        Row("bad_node_of_another_ray_version", ()),
        Row("bad_node_of_another_python_version", ()),
        Row("bad_wrong_token", ()),
        Row("bad_stranger_at_an_actors_port", ()),
        Row("bad_stranger_at_an_ingress_port", ()),
        Row("bad_full_object_store", ()),
        Row("bad_batch_with_one_poisonous_message", ()),
        Row("bad_actor_class_that_fails_to_import", ()),
        Row("bad_config_that_asks_for_more_than_the_cell_has", ()),
    ),
)

GROUPS = (PLACES, NODES, CONTROL, VERSIONS, BAD_INPUT)
