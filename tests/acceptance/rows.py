"""The lines of `make accept-gateway` that are tests: what must hold, and which tests prove it."""

from dataclasses import dataclass

from tests.acceptance.pytests import Row

GATEWAY = "tests/gateway"


@dataclass(frozen=True, slots=True)
class Group:
    """Rows whose tests run in one call of pytest."""

    name: str
    timeout_s: float
    rows: tuple[Row, ...]


PROTOCOL = Group(
    "protocol",
    180,
    (
        Row("dialogs_codec", ("tests/wire/milter/test_dialogs.py",)),
        Row("dialogs_gateway", ("tests/dialogs/test_gateway.py",)),
        Row("dialogs_postfix", ("tests/dialogs/test_postfix.py",)),
        Row("transcripts_covered", ("tests/conformance/test_milter_transcripts.py",)),
        Row("miltertest_peer", ("tests/miltertest/test_miltertest.py",)),
        Row(
            "smtputf8",
            (
                "tests/dialogs/test_gateway.py::test_the_gateway_answers_as_in[smtputf8]",
                "tests/dialogs/test_postfix.py::test_postfix_says_what_is_said_in[smtputf8]",
            ),
        ),
        Row("trace_milter", ("tests/gateway/test_trace_milter.py", "tests/postfix/test_trace_milter.py")),
        Row(
            "send_exit_codes",
            ("tests/cli/test_send.py", "tests/postfix/test_trace_milter.py::test_send_and_trace_understand_each_other"),
        ),
    ),
)
EARLY = Group(
    "early",
    120,
    (
        Row(
            "early_connect_helo_mail_postfix",
            ("tests/postfix/test_verdicts.py::test_a_client_refused_before_rcpt_hears_the_clusters_reply",),
        ),
        Row(
            "early_recipients_postfix",
            ("tests/postfix/test_verdicts.py::test_of_three_recipients_two_are_refused_and_the_third_gets_the_mail",),
        ),
        Row(
            "end_of_message_postfix",
            (
                "tests/postfix/test_verdicts.py::test_a_refused_message_is_answered_with_the_clusters_reply",
                "tests/postfix/test_verdicts.py::test_a_discarded_message_is_accepted_and_never_arrives",
                "tests/postfix/test_verdicts.py::test_a_quarantined_message_waits_in_the_hold_queue_with_its_reason",
                "tests/postfix/test_verdicts.py::test_a_marked_message_arrives_with_its_mark",
            ),
        ),
        Row(
            "early_budgets",
            (f"{GATEWAY}/test_early.py::test_silence_goes_on_after_the_budget_and_a_late_answer_is_dropped",),
        ),
    ),
)
LINK = Group(
    "link",
    180,
    (
        Row("two_cells", (f"{GATEWAY}/test_link_cells.py",)),
        Row(
            "weights_and_srv",
            (f"{GATEWAY}/test_cells.py", f"{GATEWAY}/test_balance.py", f"{GATEWAY}/test_discovery.py"),
        ),
        Row("replay_on_stream_loss", (f"{GATEWAY}/test_link_losses.py",)),
        Row("spool_above_memory", (f"{GATEWAY}/test_spool.py", f"{GATEWAY}/test_live_spool.py")),
        Row("mtls", (f"{GATEWAY}/test_live_tls.py", "tests/wire/test_tls.py")),
        Row(
            "mtls_rotation",
            (f"{GATEWAY}/test_live_tls.py::test_certificates_of_both_ends_rotate_without_a_dropped_transaction",),
        ),
        Row(
            "plaintext_refused",
            (f"{GATEWAY}/test_live_tls.py::test_a_gateway_with_unfit_tls_settings_does_not_start",),
        ),
    ),
)
POLICY = Group(
    "policy",
    120,
    (
        Row("failure_policy_matrix", (f"{GATEWAY}/test_failure_policy.py",)),
        Row("local_fallback", (f"{GATEWAY}/test_fallback.py",)),
        Row(
            "overload_policy",
            (f"{GATEWAY}/test_overload.py", f"{GATEWAY}/test_bounds.py", "tests/postfix/test_overload.py"),
        ),
    ),
)
PROCESS = Group(
    "process",
    240,
    (
        Row("units_verify", (f"{GATEWAY}/test_systemd.py::test_systemd_finds_nothing_to_complain_about",)),
        Row(
            "real_systemd_restart",
            (f"{GATEWAY}/test_systemd.py::test_a_real_systemd_restarts_the_unit_without_losing_a_session",),
        ),
        Row("sessions_handed_over", (f"{GATEWAY}/test_handover.py", f"{GATEWAY}/test_restarts.py")),
        Row(
            "reload",
            (
                f"{GATEWAY}/test_process.py::test_a_reload_holds_for_new_sessions_and_old_ones_finish_on_what_they_began_with",
                f"{GATEWAY}/test_process.py::test_a_broken_file_changes_nothing",
                f"{GATEWAY}/test_process.py::test_reloads_under_load_cost_nothing",
            ),
        ),
        Row("socket_activation", (f"{GATEWAY}/test_process.py::test_a_unix_socket_of_the_manager_survives_restarts",)),
        Row("watchdog", (f"{GATEWAY}/test_process.py::test_an_event_loop_that_hangs_is_killed_and_replaced",)),
        Row("notify", (f"{GATEWAY}/test_process.py::test_the_manager_hears_of_start_reload_and_stop",)),
    ),
)
BAD_WIRE = "tests/wire/milter/test_bad_input.py"
BAD_GATEWAY = f"{GATEWAY}/test_bad_input.py"
BAD_LIVE = f"{GATEWAY}/test_bad_input_live.py"
BAD_INPUT = Group(
    "bad_input",
    240,
    (
        Row("bad_garbage", (f"{GATEWAY}/test_live.py::test_garbage_costs_one_connection_one_line_and_no_memory",)),
        Row("bad_disconnect", (f"{GATEWAY}/test_live.py::test_an_mta_that_dies_in_the_middle_aborts_at_the_ingress",)),
        Row(
            "bad_silence_inside_a_packet",
            (f"{GATEWAY}/test_server.py::test_an_mta_that_falls_silent_inside_a_packet_is_disconnected",),
        ),
        Row(
            "bad_field_over_its_cap",
            (
                f"{BAD_WIRE}::test_every_field_over_its_cap",
                f"{BAD_WIRE}::test_a_frame_over_its_cap_is_refused_by_its_first_four_bytes",
                f"{BAD_GATEWAY}::test_every_field_over_its_cap",
            ),
        ),
        Row("bad_verdict_over_its_cap", (f"{BAD_GATEWAY}::test_every_field_of_a_verdict_over_its_cap",)),
        Row(
            "bad_command_in_a_wrong_state",
            (
                f"{BAD_WIRE}::test_every_command_in_every_wrong_state",
                f"{BAD_GATEWAY}::test_every_command_in_every_wrong_state",
            ),
        ),
        Row("bad_command_while_an_answer_is_due", (f"{BAD_GATEWAY}::test_every_command_while_an_answer_is_due",)),
        Row("bad_nul_everywhere", (f"{BAD_WIRE}::test_nul_everywhere", f"{BAD_GATEWAY}::test_nul_everywhere")),
        Row("bad_8_bit_everywhere", (f"{BAD_WIRE}::test_8_bit_everywhere", f"{BAD_GATEWAY}::test_8_bit_everywhere")),
        Row("bad_garbage_in_every_state", (f"{BAD_GATEWAY}::test_garbage_in_every_state",)),
        Row(
            "bad_frame_cut_short",
            (
                f"{BAD_WIRE}::test_a_frame_that_is_cut_short_only_waits",
                f"{BAD_GATEWAY}::test_a_frame_that_is_cut_short_by_the_end_of_the_connection",
            ),
        ),
        Row("bad_slow_loris", (f"{BAD_LIVE}::test_slow_loris_one_byte_a_second",)),
        Row("bad_half_closed", (f"{BAD_LIVE}::test_half_closed_sockets",)),
        Row("bad_reset", (f"{BAD_LIVE}::test_connections_that_are_reset",)),
        Row(
            "bad_says_nothing",
            (f"{BAD_LIVE}::test_connections_that_say_nothing_are_closed_when_their_time_is_over",),
        ),
        Row("bad_reads_no_answers", (f"{BAD_LIVE}::test_an_mta_that_reads_no_answers_is_not_read_either",)),
        Row("session_state_machine", (f"{GATEWAY}/test_session_machine.py",)),
        Row("bad_input_memory_is_bounded", (f"{BAD_LIVE}::test_memory_is_bounded",)),
    ),
)

GROUPS = (PROTOCOL, EARLY, LINK, POLICY, PROCESS, BAD_INPUT)
