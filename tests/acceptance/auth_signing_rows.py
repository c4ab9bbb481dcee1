"""The lines of `make accept-auth` about what we sign and report, as `auth_rows.py` has those about what we verify."""

from tests.acceptance.auth_rows import ACTORS, each
from tests.acceptance.pytests import Row
from tests.acceptance.rows import Group

CLI = "tests/cli"
ADAPTERS = f"{ACTORS}/adapters"
REPORTS = f"{ACTORS}/reports"
SIGNING = f"{ACTORS}/dkim/signing"
ROTATIONS = f"{ACTORS}/dkim/rotation"
LIVE_SIGNING = "tests/live/test_signing.py"
LIVE_ROTATION = "tests/live/test_rotation.py"

SIGN = Group(
    "sign",
    180,
    (
        Row(
            "key_table_and_signing_table",
            (f"{SIGNING}/test_tables.py", f"{ACTORS}/adapters/test_dkim_files.py"),
        ),
        Row("internal_peer_and_exempt_hosts", (f"{SIGNING}/test_decision.py", f"{SIGNING}/test_hosts.py")),
        Row(
            "sign_decision_explained",
            each(
                f"{CLI}/test_dkim.py",
                "test_explain_tells_each_rule_and_the_keys",
                "test_explain_says_why_a_strangers_mail_is_verified",
            ),
        ),
        Row(
            "sign_several_signatures",
            each(f"{SIGNING}/test_sign.py", "test_several_signatures_hold_independently_of_each_other"),
        ),
        Row(
            "sign_headers_oversigned_and_omitted",
            each(
                f"{SIGNING}/test_sign.py",
                "test_each_field_is_named_as_often_as_it_is_there_and_once_more_when_oversigned",
                "test_omitted_names_are_not_signed_but_from_always_is",
            ),
        ),
        Row(
            "sign_x_and_never_l",
            each(f"{SIGNING}/test_sign.py", "test_tags_are_those_of_the_options_and_there_is_never_a_length"),
        ),
        Row(
            "keys_genkey_genzone_testkey",
            each(
                f"{CLI}/test_dkim.py",
                "test_a_new_key_and_its_record_belong_together",
                "test_a_long_record_is_split_into_strings_of_255_bytes",
                "test_genzone_writes_the_table_and_says_what_it_leaves_out",
                "test_testkey_compares_what_is_published",
            ),
        ),
        Row(
            "keys_sign_verify",
            each(
                f"{CLI}/test_dkim.py",
                "test_what_sign_prints_verify_takes",
                "test_verify_fails_for_mail_that_was_changed_or_never_signed",
            ),
        ),
        Row(
            "private_keys_are_never_shown",
            (
                f"{SIGNING}/test_private_key.py",
                *each(f"{SIGNING}/test_tables.py", "test_a_key_is_never_shown"),
                *each(f"{ACTORS}/dkim/test_seal.py", "test_the_private_key_is_in_no_text"),
            ),
        ),
    ),
)
CELL = Group(
    "cell",
    300,
    (
        Row(
            "cell_signs_what_leaves",
            (
                *each(
                    LIVE_SIGNING,
                    "test_what_arrives_is_signed_twice_and_both_verifiers_agree",
                    "test_it_is_signed_with_the_edits_of_the_verdict",
                    "test_a_strangers_mail_is_not_signed",
                    "test_mail_whose_key_is_not_there_comes_again",
                    "test_a_selector_is_switched_in_the_running_cell",
                    "test_no_key_is_in_the_log_or_in_a_trace",
                ),
                f"{ACTORS}/decide/test_leaving.py",
                "tests/cluster/test_session_signing.py",
            ),
        ),
        Row(
            "cell_seals_and_resigns_for_forwarders",
            (
                *each(LIVE_SIGNING, "test_mail_that_is_forwarded_is_sealed_twice_and_the_chain_holds"),
                f"{ACTORS}/dkim/test_sealer.py",
                *each(
                    f"{SIGNING}/test_resigning.py",
                    "test_what_is_forwarded_is_verified_and_signed_with_the_key_of_its_recipient",
                    "test_what_has_no_signature_that_passes_is_signed_only_with_resign_all",
                ),
            ),
        ),
        Row(
            "key_tables_in_redis_and_sql",
            (
                f"{ADAPTERS}/test_dkim_lookup.py",
                f"{ADAPTERS}/test_dkim_sources.py",
                *each(
                    f"{ADAPTERS}/test_dkim_redis.py",
                    "test_hashes_are_tables",
                    "test_a_hundred_thousand_domains_are_looked_up_one_by_one",
                    "test_a_redis_that_is_away_and_comes_back",
                ),
            ),
        ),
        Row("key_tables_in_ldap_and_http", ("tests/live/test_directory.py", "tests/live/test_web_tables.py")),
        Row(
            "keys_verify_against_original",
            (
                f"{ACTORS}/dkim/test_diagnosis.py",
                *each(f"{CLI}/test_dkim.py", "test_verify_says_what_broke_a_signature_and_against_an_original_where"),
            ),
        ),
        Row(
            "private_keys_by_file_redis_and_command",
            (
                f"{ADAPTERS}/test_dkim_files.py",
                f"{ADAPTERS}/test_dkim_keys.py",
                *each(
                    f"{ADAPTERS}/test_dkim_redis.py",
                    "test_a_stored_key_signs_and_is_not_to_be_read_in_redis",
                    "test_a_new_key_encryption_key_takes_the_place_of_the_old",
                ),
                f"{CLI}/test_dkim_sources.py",
            ),
        ),
        Row(
            "import_opendkim_conf",
            (f"{CLI}/test_imports.py", f"{CLI}/test_import_tables.py", "tests/live/test_opendkim_import.py"),
        ),
    ),
)
ROTATION = Group(
    "rotation",
    240,
    (
        Row(
            "rotation_publishes_waits_switches_retires",
            (
                f"{ROTATIONS}/test_plan.py",
                f"{ROTATIONS}/test_visibility.py",
                f"{ROTATIONS}/test_key_table.py",
                LIVE_ROTATION,
            ),
        ),
        Row(
            "rotation_survives_being_killed_at_any_step",
            (
                *each(
                    f"{ROTATIONS}/test_run.py",
                    "test_killed_at_any_call_to_the_system_the_next_runs_bring_it_to_the_same_end",
                    "test_killed_again_and_again_with_two_keys_it_ends_the_same",
                ),
                *each(LIVE_ROTATION, "test_a_rotation_that_is_killed_again_and_again_ends_with_the_new_key_alone"),
            ),
        ),
        Row(
            "rotation_dry_run_status_audit_log",
            (
                *each(
                    f"{ROTATIONS}/test_run.py",
                    "test_a_rehearsal_changes_nothing",
                    "test_the_audit_log_tells_each_step_once_with_who_and_when_and_no_key",
                ),
                f"{CLI}/test_dkim_rotate.py",
            ),
        ),
    ),
)
REPORTING = Group(
    "reporting",
    240,
    (
        Row("dmarc_report_xml_valid", (f"{REPORTS}/test_report.py", f"{REPORTS}/test_chain.py")),
        Row("dmarc_report_counted_in_redis", (f"{REPORTS}/test_tally.py", f"{ACTORS}/adapters/test_redis_reports.py")),
        Row("dmarc_report_external_destinations", (f"{REPORTS}/test_destinations.py",)),
        Row(
            "dmarc_report_sent_once_or_written",
            (f"{REPORTS}/test_delivery.py", f"{CLI}/test_dmarc.py", "tests/live/test_dmarc_reports.py"),
        ),
    ),
)
