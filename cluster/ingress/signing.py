"""The stage after the verdict: what is delivered and ours goes to the dkim pool once more, as it will leave. Pure.

The verdict's edits are made on the header section here, so that what is signed is what the MTA will send. The body does
not travel again: what dkim found at MESSAGE holds its hash, unless the verdict replaces it. Then the fields that the
pool made are further edits, on top of all others.

Whatever goes wrong is a finding, and the verdict is drawn anew with it: so a failure is scored, marked and traced like
any other. Mail that is told again, since a stream broke, is judged and signed again; the gateway carries out one
verdict, and the signatures are the same byte for byte, since they bear the time of receipt.
"""

from collections.abc import Iterable

import msgspec

from actors.config import JudgementConfig
from actors.decide import decide, leaving_header_block, new_body, signing_failures, to_be_signed, with_signatures
from actors.model import BODY_HASH, Finding, Message, Verdict
from cluster.codec import envelope_to_proto
from cluster.errand import Payload, Report
from tamis.filter.v1 import message_pb2


class Judged(msgspec.Struct, frozen=True):
    """A verdict that has not left, and what it was drawn from."""

    verdict: Verdict
    message: Message
    findings: tuple[Finding, ...]
    expected: tuple[str, ...]
    """Actors that were asked."""


def judge(findings: Iterable[Finding], message: Message, config: JudgementConfig, expected: Iterable[str]) -> Judged:
    """The verdict on a whole message."""
    found, asked = tuple(findings), tuple(sorted(expected))
    return Judged(decide(found, message, config, expected=asked), message, found, asked)


def signing_payload(judged: Judged, config: JudgementConfig) -> Payload | None:
    """What the dkim pool is asked to sign; None for mail that is not to be signed."""
    if not config.dkim.signing.configured:
        return None
    known = to_be_signed(judged.verdict, judged.message)
    if not known:
        return None
    edits, message = judged.verdict.edits, judged.message
    body = new_body(edits)
    if body is not None:
        known = tuple(map(_without_hashes, known))
    leaving = message_pb2.Message(
        envelope=envelope_to_proto(message.envelope),
        header_block=leaving_header_block(message.header_block, edits),
        body=body or b"",
    )
    return Payload(leaving.SerializeToString(), known=known)


def _without_hashes(finding: Finding) -> Finding:
    """Those of another body than the one that leaves."""
    facts = {name: value for name, value in finding.facts.items() if not name.startswith(BODY_HASH)}
    return msgspec.structs.replace(finding, facts=facts)


def signed(judged: Judged, reports: Iterable[Report], config: JudgementConfig) -> Verdict:
    """The verdict that leaves, once the pool has answered or failed to."""
    found = [finding for report in reports for finding in report.findings]
    failures = signing_failures(found, judged.verdict)
    verdict = judged.verdict
    if failures:
        verdict = decide([*judged.findings, *failures], judged.message, config, expected=judged.expected)
    return with_signatures(verdict, found)
