"""The lines of `make accept-cluster` that are tests: what must hold, and which tests prove it.

A row whose tests are not named yet is `short`.
"""

from tests.acceptance.pytests import Row
from tests.acceptance.rows import Group

CLUSTER = "tests/cluster"

PLACES = Group(
    "places",
    300,
    (
        Row("layout_by_cores", (f"{CLUSTER}/test_layout.py",)),
        Row(
            "ingress_many_per_node",
            (
                "tests/cluster/supervisor/test_reconcile.py::test_what_is_missing_is_started_with_numbers_of_the_cell_and_indexes_of_the_node",
                "tests/cluster/supervisor/test_placement.py::test_an_ingress_listens_as_configured_at_home_and_on_the_nodes_own_address_elsewhere",
                "tests/cluster/test_live_ray.py::test_an_ingress_that_hangs_is_replaced_while_the_other_works_on",
            ),
        ),
        Row(
            "pools_desired_state",
            (
                "tests/cluster/supervisor/test_reconcile.py",
                "tests/cluster/supervisor/test_placement.py",
            ),
        ),
        Row(
            "health_by_real_work",
            (
                "tests/cluster/supervisor/test_control.py::test_a_process_that_answers_pings_and_fails_its_work_is_replaced",
            ),
        ),
        Row("restart_with_back_off", ("tests/cluster/supervisor/test_supervisor.py",)),
        Row(
            "rolling_replacement",
            (
                "tests/cluster/supervisor/test_reconcile.py::test_a_rollout_proves_the_new_beside_the_old_and_never_has_fewer_up",
                "tests/cluster/supervisor/test_control.py::test_a_generation_that_does_not_work_stops_itself_and_the_old_one_is_still_there",
                "tests/cluster/test_live_rollout.py::test_a_rollout_under_load_replaces_every_process_and_loses_no_message",
                "tests/cluster/test_live_rollout.py::test_a_generation_that_cannot_work_stops_itself_under_load",
            ),
        ),
        Row(
            "supervisor_survives_its_own_death",
            (
                "tests/cluster/supervisor/test_restarts.py::test_a_rollout_goes_on_where_the_supervisor_died",
                "tests/cluster/supervisor/test_restarts.py::test_what_an_operator_wanted_outlives_the_supervisor",
                "tests/cluster/test_live_rollout.py::test_a_rollout_goes_on_when_the_supervisor_is_killed_in_the_middle_of_it",
            ),
        ),
    ),
)
NODES = Group(
    "nodes",
    300,
    (
        Row("gcs_in_redis", ("tests/live/test_gcs_redis.py",)),
        Row(
            "ray_token_and_tls",
            (
                f"{CLUSTER}/test_ray_config.py",
                f"{CLUSTER}/test_tls.py",
                f"{CLUSTER}/test_door.py",
            ),
        ),
        Row(
            "fixed_ports",
            (
                f"{CLUSTER}/test_ray_config.py::test_off_loopback_the_ports_are_those_of_the_table",
                f"{CLUSTER}/test_ray_config.py::test_ports_that_are_set_hold_on_loopback_too",
            ),
        ),
        Row(
            "head_dies_data_path_goes_on",
            (
                "tests/live/test_gcs_redis.py::test_a_gcs_that_is_killed_is_back_soon_and_no_message_notices",
                "tests/live/test_gcs_redis.py::test_new_processes_start_after_the_gcs_was_away",
            ),
        ),
        Row(
            "nodes_join_and_leave",
            (
                "tests/cluster/supervisor/test_control.py::test_a_node_that_joins_is_used_and_one_that_dies_is_forgotten",
                "tests/cluster/supervisor/test_control.py::test_a_node_is_drained_ingress_first_and_used_again_when_it_is_resumed",
                "tests/cluster/test_live_rollout.py::test_a_cell_goes_from_one_node_to_four_and_back_under_load",
            ),
        ),
        Row(
            "scale_1_to_4_nodes_and_back",
            (
                "tests/cluster/test_live_rollout.py::test_a_cell_goes_from_one_node_to_four_and_back_under_load",
                "tests/cluster/supervisor/test_control.py::test_a_pool_grows_with_its_load_and_shrinks_again",
            ),
        ),
    ),
)
CONTROL = Group(
    "control",
    300,
    (
        Row("scaling_is_a_pure_function", (f"{CLUSTER}/test_scaling.py", f"{CLUSTER}/test_metrics.py")),
        Row("admission_by_queue_delay", (f"{CLUSTER}/test_admission.py", f"{CLUSTER}/test_session_gate.py")),
        Row(
            "optional_actors_shed_first",
            (
                f"{CLUSTER}/test_admission.py::test_a_slow_line_is_first_borne_then_relieved_then_closed",
                f"{CLUSTER}/test_session_gate.py::test_messages_of_a_slow_line_go_without_what_is_optional_and_say_so",
            ),
        ),
        Row("fair_share_per_tenant", (f"{CLUSTER}/test_fairness.py",)),
        Row(
            "early_verdict_when_nothing_can_change",
            (
                "tests/actors/decide/test_settled.py",
                f"{CLUSTER}/test_session_gate.py::test_a_refusal_that_nothing_can_change_does_not_wait_for_the_other_actors",
            ),
        ),
        Row(
            "dead_dependencies_are_not_waited_for",
            (
                "tests/actors/adapters/test_breaker.py",
                "tests/actors/adapters/test_dns.py",
                "tests/actors/adapters/test_dns_live.py",
                "tests/actors/adapters/test_clamd.py",
                "tests/actors/adapters/test_redis_store.py",
            ),
        ),
        Row(
            "status_drain_reload_rollout",
            ("tests/live/test_admin.py", "tests/cli/test_admin.py", "tests/cli/test_admin_rollout.py"),
        ),
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
    300,
    (
        Row(
            "mirror_and_diff_report",
            (
                f"{CLUSTER}/mirror/test_live.py",
                f"{CLUSTER}/mirror/test_copies.py",
                f"{CLUSTER}/mirror/test_two_cells.py",
                "tests/cli/test_mirror.py",
            ),
        ),
        Row("recorded_frames_decode", ("tests/contract/test_frames.py", "tests/contract/test_breaking.py")),
        Row("rolling_upgrade_under_load", ("tests/contract/test_rolling_upgrade.py",)),
    ),
)
BAD_INPUT = Group(
    "bad_input",
    300,
    (
        Row(
            "bad_node_of_another_ray_version",
            ("tests/live/test_nodes.py::test_a_node_with_another_ray_or_python_is_refused_with_one_line",),
        ),
        Row(
            "bad_node_of_another_python_version",
            ("tests/live/test_nodes.py::test_a_node_with_another_ray_or_python_is_refused_with_one_line",),
        ),
        Row("bad_wrong_token", ("tests/live/test_nodes.py::test_a_wrong_token_is_refused_with_one_line",)),
        Row("bad_stranger_at_an_actors_port", (f"{CLUSTER}/test_door.py",)),
        Row("bad_stranger_at_an_ingress_port", (f"{CLUSTER}/test_ingress_strangers.py",)),
        Row(
            "bad_full_object_store",
            (
                f"{CLUSTER}/test_object_store.py::test_small_bodies_and_those_without_room_are_not_shared",
                f"{CLUSTER}/test_object_store.py::test_a_store_that_fails_shares_nothing_and_says_so_once",
            ),
        ),
        Row(
            "bad_batch_with_one_poisonous_message",
            (
                f"{CLUSTER}/test_live_ray.py::test_a_message_that_kills_is_found_and_harms_nobody_else",
                f"{CLUSTER}/test_live_ray.py::test_in_a_fused_process_a_message_that_kills_is_found_and_harms_nobody_else",
            ),
        ),
        Row(
            "bad_actor_class_that_fails_to_import",
            (
                "tests/cluster/supervisor/test_control.py::test_a_generation_that_does_not_work_stops_itself_and_the_old_one_is_still_there[start]",
                "tests/cluster/test_live_rollout.py::test_a_generation_that_cannot_work_stops_itself_under_load[unimportable]",
            ),
        ),
        Row(
            "bad_config_that_asks_for_more_than_the_cell_has",
            (
                "tests/cluster/supervisor/test_control.py::test_a_cell_asked_for_more_than_it_has_runs_and_says_what_is_missing",
                "tests/cluster/supervisor/test_control.py::test_what_the_cell_cannot_have_is_refused_and_changes_nothing",
            ),
        ),
    ),
)

CHAOS = Group("chaos", 240, (Row("chaos_short", ("tests/chaos/test_short.py", "tests/chaos/test_ledger.py")),))

GROUPS = (PLACES, NODES, CONTROL, VERSIONS, BAD_INPUT, CHAOS)
