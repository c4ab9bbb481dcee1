"""The lines of `make accept-auth` that are tests: what must hold, and which tests prove it."""

from tests.acceptance.pytests import Row
from tests.acceptance.rows import Group

CONFORMANCE = "tests/conformance"
ACTORS = "tests/actors"
HOSTILE = f"{ACTORS}/test_hostile_mail.py"
SPOOFING = f"{ACTORS}/test_spoofing.py"
PROTECTED = f"{ACTORS}/test_protected_authors.py"
SIGNED = f"{CONFORMANCE}/test_signed_mail.py"
OPENDKIM = "tests/live/test_opendkim.py"
DKIM = f"{ACTORS}/dkim/test_actor.py"
DKIM_STRANGERS = f"{ACTORS}/dkim/test_actor_strangers.py"
RESULTS = f"{ACTORS}/decide/test_authres.py"
FAILURES = f"{ACTORS}/decide/test_failures.py"
DNS = f"{ACTORS}/adapters/test_dns.py"
DNS_LIVE = f"{ACTORS}/adapters/test_dns_live.py"
DMARC = f"{ACTORS}/policy/test_dmarc.py"
CLI = "tests/cli"


def each(file: str, *tests: str) -> tuple[str, ...]:
    """Several tests of one file."""
    return tuple(f"{file}::{test}" for test in tests)


CORPORA = Group(
    "corpora",
    300,
    (
        Row("spf_suite", (f"{CONFORMANCE}/test_spf.py",), "203_of_203"),
        Row(
            "arc_validation_suite",
            each(f"{CONFORMANCE}/test_arc.py", "test_every_case_of_the_validation_suite_has_its_expected_result"),
            "all",
        ),
        Row(
            "arc_signing_suite",
            each(f"{CONFORMANCE}/test_arc.py", "test_every_case_of_the_signing_suite_is_sealed_as_it_says"),
            "all",
        ),
        Row(
            "dkim_verdicts_signed_mail",
            each(SIGNED, "test_every_dkim_signature_is_judged_as_at_signing_time"),
            "100%",
        ),
        Row("arc_verdicts_signed_mail", each(SIGNED, "test_every_arc_chain_is_judged_as_recorded"), ">=99.9%"),
        Row("dmarc_verdicts_signed_mail", (f"{CONFORMANCE}/test_dmarc.py",), ">=99.5%"),
        Row("dmarc_second_reading_of_rfc_9989", (f"{CONFORMANCE}/test_dmarc_oracle.py",), "all"),
        Row(
            "changed_mail_fails",
            each(SIGNED, "test_every_passing_signature_fails_with_one_body_byte_or_one_signed_field_changed"),
            "100%",
        ),
    ),
)
INTEROP = Group(
    "interop",
    240,
    (
        Row("opendkim_verifies_what_we_sign", each(OPENDKIM, "test_opendkim_verifies_what_we_sign")),
        Row("we_verify_what_opendkim_signs", each(OPENDKIM, "test_we_verify_what_opendkim_signs")),
        Row(
            "opendkim_and_we_choose_the_same_keys",
            each(OPENDKIM, "test_the_same_keys_are_chosen_for_500_authors"),
        ),
        Row(
            "opendkim_and_we_sign_the_same_mail",
            each(OPENDKIM, "test_the_same_mail_is_signed_verified_and_left_alone"),
        ),
    ),
)
VERIFY = Group(
    "verify",
    180,
    (
        Row(
            "dkim_algorithms_and_canonicalizations",
            each(
                DKIM,
                "test_every_algorithm_and_canonicalization_passes",
                "test_what_dkimpy_signs_passes",
                "test_tampered_mail_fails",
            ),
        ),
        Row("dkim_rsa_sha1_is_permerror", each(DKIM, "test_sha1_is_permerror_even_when_it_would_verify")),
        Row(
            "dkim_l_as_policy_says",
            each(
                DKIM,
                "test_a_length_that_covers_the_body_passes_and_one_with_text_appended_does_not",
                "test_what_a_partly_signed_body_is_worth_is_configured",
            ),
        ),
        Row(
            "dkim_x_and_t_with_clock_drift",
            each(DKIM, "test_the_clock_is_the_time_of_receipt_with_the_configured_drift"),
        ),
        Row("dkim_key_size_minimum", each(DKIM, "test_a_key_below_the_minimum_is_policy")),
        Row(
            "dkim_several_signatures_capped",
            (
                *each(
                    DKIM_STRANGERS,
                    "test_one_finding_per_signature_in_order_and_the_rest_skipped",
                    "test_a_signer_that_comes_first_is_verified_beyond_the_cap_and_keeps_its_place",
                ),
                f"{ACTORS}/dkim/test_chosen.py",
            ),
        ),
        Row(
            "dkim_temperror_permerror_fail_apart",
            each(
                DKIM,
                "test_a_missing_or_unusable_key_is_permerror_and_a_failed_lookup_is_temperror",
                "test_a_key_that_does_not_come_in_time_is_temperror",
                "test_another_key_fails",
            ),
        ),
        Row(
            "dkim_action_for_each_failure",
            (
                *each(
                    FAILURES,
                    "test_each_failure_can_have_each_action",
                    "test_by_default_no_failure_is_held_against_the_mail",
                    "test_the_failure_of_a_key_in_test_mode_counts_as_no_signature",
                    "test_dns_without_an_answer_really_tempfails",
                ),
                *each(DKIM, "test_the_key_of_a_failure_is_told_when_it_is_missing_or_only_tried_out"),
            ),
        ),
        Row(
            "dkim_must_be_signed",
            each(DKIM, "test_fields_that_must_be_signed_are_all_signed_or_the_signature_does_not_count"),
        ),
        Row("arc_seals", (f"{ACTORS}/dkim/test_seal.py",)),
        Row("arc_trusted_sealers_forgive_dmarc", (f"{ACTORS}/dkim/test_vouching.py",)),
        Row("spf_with_limits", (f"{ACTORS}/policy/test_spf.py",)),
        Row("dmarc_tree_walk", (DMARC, f"{ACTORS}/decide/test_dmarc.py")),
        Row(
            "dmarc_by_public_suffixes",
            (
                *each(
                    DMARC,
                    "test_by_public_suffixes_only_the_domain_and_its_organization_are_asked",
                    "test_the_organization_is_one_label_below_a_public_suffix",
                ),
                *each(f"{ACTORS}/policy/test_actor.py", "test_the_configuration_says_how_organizations_are_found"),
            ),
        ),
        Row(
            "authentication_results_written",
            each(
                RESULTS,
                "test_every_method_is_written_as_rfc_8601_wants_it",
                "test_authres_reads_what_we_write",
                "test_no_domain_and_no_reason_can_forge_a_result",
                "test_the_queue_id_can_be_told_with_the_id",
            ),
        ),
        Row("authentication_results_read", (f"{ACTORS}/decide/test_authres_reader.py",)),
        Row(
            "authentication_results_forged_removed",
            each(
                RESULTS,
                "test_a_field_that_bears_our_id_in_any_disguise_is_removed",
                "test_a_foreign_field_is_kept",
                "test_forgeries_are_removed_from_the_last_to_the_first",
                "test_a_hundred_forgeries_are_all_removed",
                "test_further_ids_can_be_named_whose_fields_are_removed",
            ),
        ),
        Row(
            "internationalised_mail",
            (
                *each(
                    DKIM,
                    "test_internationalised_mail_is_verified_by_its_a_labels",
                    "test_an_identity_may_be_written_in_other_labels_than_its_domain",
                    "test_what_is_no_internationalised_name_is_permerror",
                ),
                *each(f"{ACTORS}/policy/test_spf.py", "test_internationalised_senders_are_checked_by_their_a_labels"),
            ),
        ),
        Row(
            "allow_lists_want_proof",
            each(
                SPOOFING,
                "test_who_forges_a_domain_that_is_on_an_allow_list_gets_nothing_from_it",
                "test_the_true_author_on_an_allow_list_is_let_in",
            ),
        ),
        Row(
            "proven_authors_are_never_forged",
            each(PROTECTED, "test_an_author_that_has_to_be_proven_is_refused_when_dmarc_fails_whatever_he_publishes"),
        ),
        Row(
            "form_of_rfc_5322",
            (f"{ACTORS}/policy/test_form.py", *each(FAILURES, "test_each_flaw_of_form_can_have_each_action")),
        ),
    ),
)
NAMES = Group(
    "names",
    120,
    (
        Row(
            "dns_cache_with_ttl",
            (
                f"{ACTORS}/adapters/test_ttl_cache.py",
                *each(
                    DNS,
                    "test_an_answer_is_asked_once_in_its_time_whatever_the_case",
                    "test_no_answer_stays_longer_than_a_day",
                ),
            ),
        ),
        Row("dns_cache_hits_are_counted", each(DNS, "test_what_the_cache_knew_is_counted")),
        Row(
            "dns_in_flight_coalescing",
            each(
                DNS,
                "test_all_who_ask_at_the_same_time_share_one_question",
                "test_a_cancelled_asker_takes_nothing_from_the_others",
            ),
        ),
        Row(
            "dns_negative_caching",
            each(
                DNS,
                "test_names_that_are_not_there_are_remembered_for_the_negative_ttl",
                "test_a_question_that_failed_is_not_asked_again_for_a_while_that_grows",
            ),
        ),
        Row(
            "dns_questions_per_message_capped",
            (
                *each(f"{ACTORS}/policy/test_timed.py", "test_questions_beyond_the_limit_fail_without_being_asked"),
                *each(DKIM, "test_a_key_beyond_the_limit_of_questions_is_temperror"),
            ),
        ),
        Row(
            "dns_breaker",
            each(
                DNS_LIVE,
                "test_when_no_name_server_answers_questions_fail_at_once_until_one_does",
                "test_a_dead_list_is_not_waited_for_and_nothing_else_fails",
            ),
        ),
        Row(
            "dns_nxdomain_nodata_servfail_apart",
            each(
                DNS_LIVE,
                "test_ares_tells_nxdomain_from_nodata",
                "test_a_name_server_that_is_silent_or_away_is_a_failure_within_the_cap",
            ),
        ),
        Row(
            "dns_zone_file",
            (
                f"{ACTORS}/adapters/test_zone.py",
                *each(f"{CLI}/test_scan.py", "test_signed_mail_passes_spf_dkim_and_dmarc"),
            ),
        ),
    ),
)
BAD_INPUT = Group(
    "bad_input",
    180,
    (
        Row("bad_mail_typed_results", each(HOSTILE, "test_hostile_mail_ends_in_typed_results")),
        Row(
            "bad_1000_signatures_capped",
            (
                f"{HOSTILE}::test_hostile_mail_ends_in_typed_results[signatures_1000]",
                *each(DKIM_STRANGERS, "test_a_thousand_signatures_cost_no_more_than_the_cap"),
            ),
        ),
        Row(
            "bad_dns_silence_and_servfail",
            each(
                HOSTILE,
                "test_everything_is_asked_that_can_be_asked",
                "test_servfail_at_any_lookup_is_a_temperror_of_what_needed_it",
                "test_silence_at_any_lookup_is_a_temperror_of_what_needed_it",
            ),
        ),
        Row(
            "bad_nesting_of_results_and_mime",
            (
                *each(
                    f"{ACTORS}/decide/test_authres_reader.py",
                    "test_nesting_and_escapes_end_in_a_reason",
                    "test_any_bytes_are_results_or_a_reason",
                ),
                *each(
                    f"{ACTORS}/test_mime.py",
                    "test_hostile_structure_does_not_hang",
                    "test_a_flood_of_encoded_words_hides_nothing",
                ),
            ),
        ),
        Row(
            "spoofing_from",
            each(
                SPOOFING,
                "test_a_from_that_shows_the_spoofed_domain_gets_no_pass",
                "test_another_field_never_is_the_author",
            ),
        ),
        Row(
            "spoofing_protected_authors",
            each(
                PROTECTED,
                "test_an_author_that_has_to_be_proven_is_refused_when_dmarc_fails_whatever_he_publishes",
                "test_dns_that_an_attacker_makes_fail_gets_his_mail_held_and_not_accepted",
                "test_a_from_that_dmarc_cannot_judge_is_refused_when_it_shows_a_domain_that_must_be_proven",
                "test_a_from_with_more_domains_than_are_asked_about_is_refused_with_dmarc_reject",
            ),
        ),
        Row("spoofing_envelope", each(SPOOFING, "test_no_envelope_authenticates_the_spoofed_author")),
        Row(
            "spoofing_signatures",
            each(
                SPOOFING,
                "test_no_signature_of_the_attacker_authenticates_the_spoofed_author",
                "test_what_is_added_to_a_good_signature_of_the_spoofed_domain_breaks_it",
            ),
        ),
    ),
)
