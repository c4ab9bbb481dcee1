import msgspec

from cluster.mirror.difference import LISTED_MAX, NAME_CHARS_MAX, Line, compare
from tamis.filter.v1 import verdict_pb2 as pb


def verdict(action: pb.Action, score: float = 0.0, *, degraded: bool = False, **more: object) -> pb.Verdict:
    return pb.Verdict(action=action, score=score, degraded=degraded, **more)  # type: ignore[arg-type]


def findings(*triples: str) -> list[pb.Finding]:
    return [
        pb.Finding(actor=actor, name=name, outcome=outcome, detail="secret", facts={"smtp.mailfrom": "a@example.org"})
        for actor, name, outcome in (triple.split() for triple in triples)
    ]


def test_equal_verdicts_differ_in_nothing_but_time() -> None:
    one = verdict(pb.ACTION_REJECT, 12.0, reasons=["spam: 12 points"], findings=findings("dkim dkim pass"))
    difference = compare(one, 12.34, one, 56.78)
    assert difference.same_action
    assert (difference.live.ms, difference.mirrored.ms) == (12.3, 56.8)
    assert (difference.findings, difference.live.reasons, difference.mirrored.reasons) == ((), (), ())


def test_actions_scores_and_what_is_degraded_stand_side_by_side() -> None:
    difference = compare(verdict(pb.ACTION_ACCEPT, 1.234), 1, verdict(pb.ACTION_REJECT, 9.5, degraded=True), 2)
    assert not difference.same_action
    assert (difference.live.action, difference.mirrored.action) == ("accept", "reject")
    assert (difference.live.score, difference.mirrored.score) == (1.23, 9.5)
    assert (difference.live.degraded, difference.mirrored.degraded) == (False, True)


def test_findings_differ_by_actor_name_and_outcome_and_order_does_not_matter() -> None:
    live = verdict(
        pb.ACTION_ACCEPT,
        findings=findings("dkim dkim pass", "dkim dkim fail", "policy spf pass", "policy dmarc pass"),
    )
    mirrored = verdict(
        pb.ACTION_ACCEPT,
        findings=findings("policy spf softfail", "dkim dkim fail", "dkim dkim pass", "antivirus rule hit"),
    )
    told = [tuple(msgspec.to_builtins(finding)) for finding in compare(live, 1, mirrored, 1).findings]
    assert told == [("antivirus/rule", "", "hit"), ("policy/dmarc", "pass", ""), ("policy/spf", "pass", "softfail")]


def test_what_one_side_did_not_wait_for_is_no_difference_but_what_it_found_is() -> None:
    live = verdict(pb.ACTION_ACCEPT, findings=findings("policy spf pass", "antivirus clamav clean"))
    cut = findings("policy deny_sender hit", "policy policy skipped", "antivirus antivirus skipped")
    told = [
        tuple(msgspec.to_builtins(one)) for one in compare(live, 1, verdict(pb.ACTION_REJECT, findings=cut), 1).findings
    ]
    assert told == [("policy/deny_sender", "", "hit")]


def test_reasons_are_compared_by_name_and_only_those_of_one_side_are_told() -> None:
    live = verdict(pb.ACTION_ACCEPT, reasons=["default: no rule objected", "spf: -0.50, pass"])
    mirrored = verdict(pb.ACTION_ACCEPT, reasons=["default: no rule objected", "spf: -0.60, pass", "dmarc: +1.00, x"])
    difference = compare(live, 1, mirrored, 1)
    assert (difference.live.reasons, difference.mirrored.reasons) == ((), ("dmarc",))


def test_a_line_has_no_content_and_no_address_in_it() -> None:
    address = "victim@example.org"
    live = verdict(pb.ACTION_REJECT, reasons=[f"denied_sender: {address}"], findings=findings("policy spf pass"))
    mirrored = verdict(
        pb.ACTION_ACCEPT,
        reasons=[f"{address}: odd", "line\r\nend"],
        findings=[pb.Finding(actor="new", name=address, outcome="x" * 1000)],
    )
    text = msgspec.json.encode(Line(1.0, "00", "4Q", compare(live, 1, mirrored, 1))).decode()
    for word in (address, "secret", "a@example.org", "\\r"):
        assert word not in text
    assert "denied_sender" in text
    assert "x" * NAME_CHARS_MAX in text
    assert "x" * (NAME_CHARS_MAX + 1) not in text


def test_a_message_with_many_differences_lists_some() -> None:
    live = verdict(pb.ACTION_ACCEPT, findings=findings(*(f"antivirus rule-{number} hit" for number in range(200))))
    assert len(compare(live, 1, verdict(pb.ACTION_ACCEPT), 1).findings) == LISTED_MAX


def test_an_action_of_a_later_release_is_told_by_its_number() -> None:
    later = pb.Verdict.FromString(b"\x08\x63")
    assert compare(verdict(pb.ACTION_ACCEPT), 1, later, 1).mirrored.action == "action_99"
