"""The lines of `make accept-auth` that are tests: what must hold, and which tests prove it.

A row whose tests are not named yet is `short`.
"""

from tests.acceptance.pytests import Row
from tests.acceptance.rows import Group

CONFORMANCE = "tests/conformance"
ACTORS = "tests/actors"
HOSTILE = f"{ACTORS}/test_hostile_mail.py"
SPOOFING = f"{ACTORS}/test_spoofing.py"
SIGNED = f"{CONFORMANCE}/test_signed_mail.py"

CORPORA = Group(
    "corpora",
    300,
    (
        Row("spf_suite", (f"{CONFORMANCE}/test_spf.py",)),
        Row(
            "arc_validation_suite",
            (f"{CONFORMANCE}/test_arc.py::test_every_case_of_the_validation_suite_has_its_expected_result",),
        ),
        Row(
            "arc_signing_suite",
            (f"{CONFORMANCE}/test_arc.py::test_every_case_of_the_signing_suite_is_sealed_as_it_says",),
        ),
        Row("dkim_verdicts_signed_mail", (f"{SIGNED}::test_every_dkim_signature_is_judged_as_at_signing_time",)),
        Row("arc_verdicts_signed_mail", (f"{SIGNED}::test_every_arc_chain_is_judged_as_recorded",)),
        Row("dmarc_verdicts_signed_mail", (f"{CONFORMANCE}/test_dmarc.py",)),
        Row(
            "changed_mail_fails",
            (f"{SIGNED}::test_every_passing_signature_fails_with_one_body_byte_or_one_signed_field_changed",),
        ),
    ),
)
VERIFY = Group(
    "verify",
    180,
    (
        Row(
            "authentication_results_written_read_removed",
            (f"{ACTORS}/decide/test_authres.py", f"{ACTORS}/decide/test_authres_reader.py"),
        ),
        Row("dmarc_tree_walk", (f"{ACTORS}/policy/test_dmarc.py", f"{ACTORS}/decide/test_dmarc.py")),
        Row("dns_layer", (f"{ACTORS}/adapters/test_dns.py", f"{ACTORS}/adapters/test_ttl_cache.py")),
        Row("arc_seals", (f"{ACTORS}/dkim/test_seal.py",)),
    ),
)
BAD_INPUT = Group(
    "bad_input",
    180,
    (
        Row("bad_mail_typed_results", (f"{HOSTILE}::test_hostile_mail_ends_in_typed_results",)),
        Row(
            "bad_1000_signatures_capped",
            (
                f"{HOSTILE}::test_hostile_mail_ends_in_typed_results[signatures_1000]",
                f"{ACTORS}/dkim/test_actor.py::test_a_thousand_signatures_cost_no_more_than_the_cap",
            ),
        ),
        Row(
            "bad_dns_silence_and_servfail",
            (
                f"{HOSTILE}::test_servfail_at_any_lookup_is_a_temperror_of_what_needed_it",
                f"{HOSTILE}::test_silence_at_any_lookup_is_a_temperror_of_what_needed_it",
            ),
        ),
        Row("spoofing_from", (f"{SPOOFING}::test_a_from_that_shows_the_spoofed_domain_gets_no_pass",)),
        Row("spoofing_envelope", (f"{SPOOFING}::test_no_envelope_authenticates_the_spoofed_author",)),
        Row(
            "spoofing_signatures",
            (
                f"{SPOOFING}::test_no_signature_of_the_attacker_authenticates_the_spoofed_author",
                f"{SPOOFING}::test_what_is_added_to_a_good_signature_of_the_spoofed_domain_breaks_it",
            ),
        ),
    ),
)
GROUPS = (CORPORA, VERIFY, BAD_INPUT)
