"""cluster/ingress/session.py: what is ours is signed as it leaves, once the verdict is drawn."""

import msgspec
import pytest

from actors.config import DkimConfig, HeadersConfig, JudgementConfig
from actors.decide.signing import CANNOT_SIGN, NEVER_SIGNED
from actors.dkim.signing.config import SigningConfig
from actors.model import ErrorKind, Finding, Outcome, Stage, error_finding
from cluster.codec import finding_from_proto, stage_from_proto
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2, verdict_pb2
from tests.cluster.session_bench import ABORT, BEGIN, BODY, END, HAM, MAIL, RECIPIENT, SAMPLED, SPF, STAGES, Bench
from tests.cluster.test_session_mirror import FakeMirror

SIGNS = {"disposition": "sign", "sha256.relaxed": "aGFzaA=="}
OURS = Finding("dkim", "signing", Outcome.PASS, detail="to be signed", facts=SIGNS)
FIRST, SECOND = (
    Finding("dkim", "signature", Outcome.PASS, facts={"field": "DKIM-Signature", "value": f"v=1; a={algorithm}"})
    for algorithm in ("rsa-sha256", "ed25519-sha256")
)
BROKEN = error_finding("dkim", "signing", ErrorKind.UNREACHABLE, "key of d=a.example s=rsa: /k: No such file")
DIRECTIONS = {"inbound": message_pb2.DIRECTION_INBOUND, "outbound": message_pb2.DIRECTION_OUTBOUND}
HEADERS = pb.Event(headers=pb.Headers(header_block=b"X-Spam-Score: 0\r\nFrom: a@a.example\r\nX-Spam-Score: 1\r\n"))


def signing_bench(on_failure: str = "tempfail") -> Bench:
    stages = STAGES | {"dkim": frozenset({Stage.HEADERS, Stage.MESSAGE, Stage.SIGN})}
    bench = Bench(stages=stages)
    signing = SigningConfig(key_table="csl:k=a.example:s:/k", signing_table="csl:*=k", on_failure=on_failure)
    headers = HeadersConfig(authserv_id="mx.example")
    bench.hall.judgement = JudgementConfig(dkim=DkimConfig(signing=signing), headers=headers)
    return bench


def begin(direction: str = "outbound", **fields: object) -> pb.Event:
    event = pb.Event.FromString(BEGIN.SerializeToString())
    event.begin.MergeFrom(pb.Begin(direction=DIRECTIONS[direction], **fields))  # type: ignore[arg-type]
    return event


def judged(bench: Bench, *found: Finding, first: pb.Event | None = None) -> None:
    """All but the signing: dkim found this at MESSAGE."""
    bench.tell_at_once(first or begin(), MAIL, RECIPIENT, HEADERS, BODY, END)
    while bench.links["policy"].tasks:
        bench.links["policy"].answer(SPF)
    bench.links["classifier"].answer(HAM)
    bench.links["dkim"].answer(*found)


def asked(bench: Bench) -> message_pb2.Message:
    (task,) = bench.links["dkim"].tasks
    assert stage_from_proto(task.stage) is Stage.SIGN
    return message_pb2.Message.FromString(task.message)


def inserted(bench: Bench) -> list[tuple[int, bytes, bytes]]:
    edits = [edit.insert_header for edit in bench.verdict.edits if edit.HasField("insert_header")]
    return [(edit.index, edit.name, edit.value) for edit in edits]


def test_what_is_delivered_is_signed_as_it_leaves() -> None:
    bench = signing_bench()
    judged(bench, OURS)
    assert not bench.answers
    message = asked(bench)
    scored, status = message.header_block.split(b"\r\n")[1:3]
    assert message.header_block.startswith(b"From: a@a.example\r\nX-Spam-Score: ")
    assert (scored[:14], status[:14]) == (b"X-Spam-Score: ", b"X-Spam-Status:")
    assert message.envelope.sender == b"a@example.org"
    bench.links["dkim"].answer(FIRST, SECOND)
    *_, second, first = inserted(bench)
    assert first == (0, b"DKIM-Signature", b"v=1; a=rsa-sha256")
    assert second == (0, b"DKIM-Signature", b"v=1; a=ed25519-sha256")
    assert not bench.verdict.degraded
    assert (bench.hall.signed, bench.hall.unsigned) == (1, 0)
    assert (bench.hall.transactions, bench.hall.held_bytes, bench.time.armed) == (0, 0, 0)


def test_the_body_does_not_travel_again_but_its_hash_does() -> None:
    bench = signing_bench()
    judged(bench, OURS)
    (task,) = bench.links["dkim"].tasks
    assert asked(bench).body == b""
    assert [finding_from_proto(finding) for finding in task.known] == [OURS]


def test_the_signature_stands_above_our_authentication_results() -> None:
    bench = signing_bench()
    judged(bench, OURS, first=begin("inbound"))
    assert asked(bench).header_block.startswith(b"Authentication-Results: mx.example;")
    bench.links["dkim"].answer(FIRST)
    assert [name for _, name, _ in inserted(bench)] == [b"Authentication-Results", b"DKIM-Signature"]


@pytest.mark.parametrize(
    "found",
    [
        Finding("dkim", "unsigned", Outcome.NONE),
        Finding("dkim", "signing", Outcome.SKIPPED, facts={"disposition": "ignore"}),
    ],
)
def test_mail_that_is_not_ours_gets_its_verdict_at_once(found: Finding) -> None:
    bench = signing_bench()
    judged(bench, found)
    assert bench.verdict.action == verdict_pb2.ACTION_ACCEPT
    assert not bench.links["dkim"].tasks


def test_mail_that_is_refused_is_not_signed() -> None:
    bench = signing_bench()
    gtube = Finding("policy", "gtube", Outcome.HIT)
    judged(bench, OURS, gtube)
    assert bench.verdict.action == verdict_pb2.ACTION_REJECT
    assert not bench.links["dkim"].tasks


def test_a_mirrored_copy_is_not_signed() -> None:
    bench = signing_bench()
    judged(bench, OURS, first=begin(mirrored=True))
    assert "signing" in {finding.name for finding in bench.verdict.findings}
    assert not inserted(bench)


def test_a_mirror_compares_what_was_judged_before_it_was_signed() -> None:
    bench = signing_bench()
    mirror = bench.hall.mirror = FakeMirror(bench)
    judged(bench, OURS)
    bench.links["dkim"].answer(FIRST)
    ((_, _, verdict, _),) = mirror.offered
    assert "signature" not in {finding.name for finding in verdict.findings}
    assert "signing" in {finding.name for finding in verdict.findings}
    assert inserted(bench)


# --- failures ---------------------------------------------------------------------------------------------------------


def tempfailed(bench: Bench) -> bool:
    verdict = bench.verdict
    reply = (verdict.reply.code, verdict.reply.enhanced, verdict.reply.text)
    assert verdict.action != verdict_pb2.ACTION_TEMPFAIL or (
        reply == (CANNOT_SIGN.code, CANNOT_SIGN.enhanced, CANNOT_SIGN.text) and not verdict.edits
    )
    return verdict.action == verdict_pb2.ACTION_TEMPFAIL


def passes_marked(bench: Bench) -> bool:
    marks = {edit.add_header.name: edit.add_header.value for edit in bench.verdict.edits}
    return bench.verdict.action == verdict_pb2.ACTION_ACCEPT and marks.get(b"X-Tamis-Degraded") == b"dkim"


@pytest.mark.parametrize("found", [[BROKEN], [FIRST, BROKEN], []], ids=["key", "one key of two", "nothing"])
def test_what_cannot_be_signed_comes_again(found: list[Finding]) -> None:
    bench = signing_bench()
    judged(bench, OURS)
    bench.links["dkim"].answer(*found)
    assert tempfailed(bench)
    assert bench.verdict.degraded
    assert list(bench.verdict.missing) == ["dkim"]
    assert (bench.hall.signed, bench.hall.unsigned) == (0, 1)


@pytest.mark.parametrize("found", [[BROKEN], [FIRST, BROKEN], []], ids=["key", "one key of two", "nothing"])
def test_or_it_passes_marked_with_the_signatures_there_are(found: list[Finding]) -> None:
    bench = signing_bench("unsigned")
    judged(bench, OURS)
    bench.links["dkim"].answer(*found)
    assert passes_marked(bench)
    assert [name for _, name, _ in inserted(bench)] == [b"DKIM-Signature"] * (FIRST in found)


@pytest.mark.parametrize("on_failure", ["tempfail", "unsigned"])
@pytest.mark.parametrize("how", ["late", "crash", "gone"])
def test_a_pool_that_does_not_sign_ends_before_the_deadline(how: str, on_failure: str) -> None:
    bench = signing_bench(on_failure)
    judged(bench, OURS)
    link = bench.links["dkim"]
    if how == "crash":
        link.answer(error_finding("dkim", "dkim", ErrorKind.CRASH, "KeyError"))
    elif how == "gone":
        link.breaks()
    bench.time.advance(10.0)
    assert tempfailed(bench) if on_failure == "tempfail" else passes_marked(bench)
    assert (bench.hall.transactions, bench.time.armed) == (0, 0)


@pytest.mark.parametrize(("direction", "held"), [("outbound", True), ("inbound", False)])
def test_without_an_answer_of_dkim_only_what_may_be_ours_comes_again(direction: str, *, held: bool) -> None:
    bench = signing_bench()
    judged(bench, error_finding("dkim", "dkim", ErrorKind.CRASH), first=begin(direction))
    assert tempfailed(bench) if held else passes_marked(bench)


def test_what_is_ours_for_certain_comes_again_wherever_it_came_from() -> None:
    bench = signing_bench()
    certain = msgspec.structs.replace(BROKEN, facts={"disposition": "sign"})
    judged(bench, certain, first=begin("inbound"))
    assert tempfailed(bench)


UNSIGNABLE = Finding("dkim", "signing", Outcome.PERMERROR, detail="cannot be signed: too many", facts=SIGNS)


@pytest.mark.parametrize("first", [OURS, UNSIGNABLE], ids=["when it leaves", "when it comes"])
def test_what_can_never_be_signed_is_refused_for_good(first: Finding) -> None:
    bench = signing_bench()
    judged(bench, first, first=begin("inbound"))
    if first is OURS:
        bench.links["dkim"].answer(UNSIGNABLE)
    reply = bench.verdict.reply
    assert bench.verdict.action == verdict_pb2.ACTION_REJECT
    assert (reply.code, reply.enhanced, reply.text) == (NEVER_SIGNED.code, NEVER_SIGNED.enhanced, NEVER_SIGNED.text)
    assert bench.verdict.reasons[0] == "unsigned: cannot be signed: too many"
    assert not inserted(bench)
    assert (bench.hall.signed, bench.hall.unsigned, list(bench.verdict.missing)) == (0, 1, [])


@pytest.mark.parametrize("first", [OURS, UNSIGNABLE], ids=["when it leaves", "when it comes"])
def test_or_it_passes_without_a_signature_and_is_counted(first: Finding) -> None:
    bench = signing_bench("unsigned")
    judged(bench, first)
    if first is OURS:
        bench.links["dkim"].answer(UNSIGNABLE)
    assert bench.verdict.action == verdict_pb2.ACTION_ACCEPT
    assert b"DKIM-Signature" not in [name for _, name, _ in inserted(bench)]
    assert (bench.hall.signed, bench.hall.unsigned) == (0, 1)


def test_what_can_never_be_signed_does_not_come_again_for_a_key_that_fails_too() -> None:
    bench = signing_bench()
    judged(bench, BROKEN, UNSIGNABLE)
    assert bench.verdict.action == verdict_pb2.ACTION_REJECT


# --- while it is under way --------------------------------------------------------------------------------------------


def test_a_client_that_leaves_meanwhile_ends_it() -> None:
    bench = signing_bench()
    judged(bench, OURS)
    bench.tell(ABORT)
    assert len(bench.links["dkim"].cancelled) == 1
    assert not bench.answers
    assert (bench.hall.transactions, bench.hall.held_bytes, bench.time.armed) == (0, 0, 0)


def test_what_a_stage_aside_says_meanwhile_starts_nothing_twice() -> None:
    bench = signing_bench()
    bench.tell(begin(), MAIL, RECIPIENT, HEADERS, BODY, END)
    dkim, policy = bench.links["dkim"], bench.links["policy"]
    headers = dkim.tasks.pop(0)
    while policy.tasks:
        policy.answer(SPF)
    bench.links["classifier"].answer(HAM)
    dkim.answer(OURS)
    assert headers.task in dkim.cancelled
    assert [stage_from_proto(task.stage) for task in dkim.tasks] == [Stage.SIGN]
    dkim.answer(FIRST)
    assert bench.verdict.action == verdict_pb2.ACTION_ACCEPT


def test_the_trace_tells_of_the_stage_and_nothing_of_the_signature() -> None:
    bench = signing_bench()
    judged(bench, OURS, first=begin(traceparent=SAMPLED))
    bench.links["dkim"].answer(FIRST)
    (spans,) = bench.spans
    (span,) = [span for span in spans if span.attributes.get("stage") == "sign"]
    assert (span.name, span.attributes["findings"]) == ("actor.dkim", "signature=pass")
    assert "v=1" not in str(spans)


# --- seals ------------------------------------------------------------------------------------------------------------

TO_SEAL = Finding("dkim", "sealing", Outcome.PASS, facts={"chain": "none", "sha256.relaxed": "aGFzaA=="})
SET = [
    Finding("dkim", "seal", Outcome.PASS, facts={"field": name, "value": "i=1"})
    for name in ("ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results")
]


def test_a_set_stands_on_top_of_everything_in_its_order() -> None:
    bench = signing_bench()
    judged(bench, OURS, TO_SEAL, first=begin("inbound"))
    (task,) = bench.links["dkim"].tasks
    assert {finding_from_proto(finding).name for finding in task.known} == {"signing", "sealing"}
    bench.links["dkim"].answer(*SET, FIRST)
    names = [name for _, name, _ in reversed(inserted(bench))]
    assert names == [
        b"ARC-Seal",
        b"ARC-Message-Signature",
        b"ARC-Authentication-Results",
        b"DKIM-Signature",
        b"Authentication-Results",
    ]


def test_a_chain_that_may_not_be_extended_is_no_failure() -> None:
    bench = signing_bench()
    judged(bench, TO_SEAL, first=begin("inbound"))
    bench.links["dkim"].answer(Finding("dkim", "sealing", Outcome.SKIPPED, detail="the chain cannot be extended"))
    assert bench.verdict.action == verdict_pb2.ACTION_ACCEPT
    assert not bench.verdict.degraded


@pytest.mark.parametrize("found", [[error_finding("dkim", "sealing", ErrorKind.UNREACHABLE)], []])
def test_mail_whose_seal_fails_passes_marked(found: list[Finding]) -> None:
    bench = signing_bench()
    judged(bench, TO_SEAL, first=begin("inbound"))
    bench.links["dkim"].answer(*found)
    assert passes_marked(bench)
    assert bench.hall.unsigned == 0


def test_a_seal_that_fails_does_not_cost_the_signature() -> None:
    bench = signing_bench()
    judged(bench, OURS, TO_SEAL, first=begin("inbound"))
    bench.links["dkim"].answer(error_finding("dkim", "sealing", ErrorKind.UNREACHABLE), FIRST)
    assert passes_marked(bench)
    assert b"DKIM-Signature" in [name for _, name, _ in inserted(bench)]
