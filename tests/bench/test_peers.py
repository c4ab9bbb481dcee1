"""The side-by-side bench: what its corpus, its resolver and its arithmetic promise."""

import shutil
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest

from bench.nameserver import Nameserver
from bench.peers import corpus
from bench.peers.filters import FILTERS, Judged
from bench.peers.resolver import DnsManner, LocalResolver
from bench.peers.rounds import summary
from bench.peers.table import medians
from bench.process_tree import Process, TreeUsage
from cli.edits import Mail
from cli.mta import MtaOutcome
from wire.milter import events as ev

MAIL = Mail(b"s@x.example", (b"r@x.example",), (), b"")
USAGE = TreeUsage({(1, 1): Process(1, 0, "p", 3.0, 1)}, {"p": 0.5}, {"p": 2_000_000}, 3_000_000)


def answered(*fields: tuple[bytes, bytes], action: str = "accept") -> MtaOutcome:
    return MtaOutcome(action, edits=tuple(ev.AddHeader(*field) for field in fields), end_of_message_s=0.01)


@pytest.mark.parametrize(
    ("name", "outcome", "judged"),
    [
        (
            "tamis",
            answered((b"X-Spam-Flag", b"YES"), (b"Authentication-Results", b"mx; dkim=pass header.d=x")),
            Judged(dkim_pass=True, spam=True),
        ),
        ("tamis", answered((b"X-Tamis-Degraded", b"dkim")), Judged(dkim_pass=False, spam=False, degraded=True)),
        ("rspamd", answered((b"X-Spam", b"Yes")), Judged(dkim_pass=False, spam=True)),
        ("rspamd", answered(action="reject"), Judged(dkim_pass=False, spam=True)),
        ("opendkim", answered((b"Authentication-Results", b"mx; dkim=fail")), Judged(dkim_pass=False, spam=False)),
        (
            "spamassassin",
            answered((b"X-Spam-Status", b"No, score=0 tests=DKIM_SIGNED,\n\tDKIM_VALID,DKIM_VALID_AU")),
            Judged(dkim_pass=True, spam=False),
        ),
        (
            "spamassassin",
            answered((b"X-Spam-Status", b"Yes, tests=DKIM_INVALID"), (b"X-Spam-Flag", b"YES")),
            Judged(dkim_pass=False, spam=True),
        ),
    ],
)
def test_every_filters_answer_is_read_in_its_own_words(name: str, outcome: MtaOutcome, judged: Judged) -> None:
    (one,) = (one for one in FILTERS if one.name == name)
    assert one.judge(outcome) == judged


def test_shares_are_of_the_mail_of_which_the_truth_is_known() -> None:
    spam, ham, signed = (
        corpus.Labelled(MAIL, spam=True, signed=False),
        corpus.Labelled(MAIL, spam=False, signed=False),
        corpus.Labelled(MAIL, spam=None, signed=True),
    )
    found, nothing = Judged(dkim_pass=True, spam=True), Judged(dkim_pass=False, spam=False)
    judged = [(spam, found), (spam, nothing), (ham, nothing), (signed, found)]
    figures = summary([answered()] * 4, judged, 2.0, USAGE)
    assert (figures.spam_found, figures.ham_mistaken, figures.dkim_pass) == (0.5, 0.0, 1.0)
    assert (figures.messages_per_s, figures.cpu_ms, figures.pss_mb, figures.rss_mb) == (2.0, 125.0, 2.0, 3.0)
    assert figures.valid


@pytest.mark.parametrize(
    ("outcome", "judged"),
    [
        (MtaOutcome(error="nobody there"), Judged(dkim_pass=False, spam=False)),
        (answered(action="tempfail"), Judged(dkim_pass=False, spam=False)),
        (answered(), Judged(dkim_pass=False, spam=False, degraded=True)),
    ],
)
def test_a_round_with_mail_that_was_not_judged_whole_is_not_valid(outcome: MtaOutcome, judged: Judged) -> None:
    figures = summary([outcome], [(corpus.Labelled(MAIL, spam=None, signed=False), judged)], 1.0, USAGE)
    assert not figures.valid
    told = medians([figures, figures, summary([answered()], [], 1.0, USAGE)])
    assert told["unanswered"] + told["tempfailed"] + told["degraded"] == 2


def test_signed_mail_that_expires_is_left_out_and_the_halves_take_turns(tmp_path: Path) -> None:
    for folder in ("easy_ham", "easy_ham_2", "hard_ham", "spam", "spam_2"):
        (tmp_path / "spamassassin" / folder).mkdir(parents=True)
        for number in range(8):
            text = f"Subject: {folder} {number}\n\nsome words of {folder} that differ {'abcdefgh'[number] * 5} here\n"
            (tmp_path / "spamassassin" / folder / str(number)).write_text(text)
    mails = tmp_path / "signed_mail" / "mail"
    mails.mkdir(parents=True)
    for name, tags in (("a.eml", "v=1; x=1; h=from"), ("b.eml", "v=1; bh=x=; h=from"), ("c.eml", "v=1; h=from")):
        (mails / name).write_text(f"DKIM-Signature: {tags}\nFrom: <s@{name}>\nMessage-ID: <{name}>\n\nhello\n")
    (tmp_path / "signed_mail" / "dkim.tsv").write_text("file\tverdict_at_signing_time\nb.eml\tpass\nc.eml\tfail\n")
    mixed = corpus.mixed(tmp_path)
    assert len(mixed) == 4
    assert [one.spam is None for one in mixed] == [False, True, False, True]
    assert [(b"b.eml" in one.mail.raw, one.signed) for one in mixed[1::2]] == [(True, True), (False, False)]
    assert not {one.mail.body for one in mixed[::2]} & {
        raw.partition(b"\n\n")[2] for spam in (True, False) for raw in corpus.training(tmp_path, spam=spam)
    }


@pytest.mark.parametrize("use_edns", [True, False])
@pytest.mark.parametrize(
    ("name", "kind", "rcode", "records"),
    [
        ("a.Example", "TXT", dns.rcode.NOERROR, 1),
        ("a.example", "A", dns.rcode.NOERROR, 0),
        ("example", "A", dns.rcode.NOERROR, 0),
        ("b.example", "A", dns.rcode.NXDOMAIN, 0),
    ],
)
def test_the_name_server_says_what_is_there_and_how_long_nothing_is(
    name: str, kind: str, rcode: int, records: int, *, use_edns: bool
) -> None:
    server = Nameserver({("a.example", "TXT"): ['"x"']}, ttl_s=7)
    question = dns.message.make_query(name, kind, use_edns=use_edns)
    wire = server.answer(question.to_wire(), udp=True)
    assert wire is not None
    answer = dns.message.from_wire(wire)
    assert question.is_response(answer)
    assert (answer.rcode(), len(answer.answer)) == (rcode, records)
    assert [(soa.ttl, soa[0].minimum) for soa in answer.authority] == ([] if records else [(7, 7)])


@pytest.mark.parametrize(
    "question", [b"", b"\0" * 12, b"\0" * 16 + b"\xff" * 30, b"\0\0\1\0\0\1" + b"\0" * 6 + b"\x3fa"]
)
def test_the_name_server_answers_no_garbage(question: bytes) -> None:
    assert Nameserver({}).answer(question, udp=True) is None


@pytest.mark.live
def test_the_resolver_answers_from_the_zone_and_never_below_a_dead_one(tmp_path: Path) -> None:
    if not shutil.which("unbound"):
        pytest.skip("no unbound: tests/services/install peers")
    with LocalResolver({("a.example", "TXT"): ['"x"']}, DnsManner(dead_zone="dead.example"), tmp_path) as resolver:

        def ask(name: str, timeout_s: float) -> dns.message.Message:
            question = dns.message.make_query(name, "TXT")
            return dns.query.udp(question, "127.0.0.1", port=resolver.port, timeout=timeout_s)

        assert len(ask("a.example", 5).answer) == 1
        assert ask("b.example", 5).rcode() == dns.rcode.NXDOMAIN
        with pytest.raises(dns.exception.Timeout):
            ask("list.dead.example", 0.3)
