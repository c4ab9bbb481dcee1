"""The MTA's side: plays messages as Postfix does, and every failure ends in an outcome."""

import asyncio

import pytest

from cli import mta
from cli.mta import MtaOutcome, Timeouts, deliver_in_turn, play_message
from cli.mta_stages import Client, Manner, connect_event
from tests.cli.filters import FilterInMemory
from wire.milter import Wanted
from wire.milter import constants as c
from wire.milter import events as ev

MAIL = (
    b"From someone Sat Nov 21 10:00:00 2026\nFrom: a@example.com\nSubject:no space\nX-Fold: one\n two\n\nHello\r\nyou\n"
)
SHORT = Timeouts(connect_s=0.05, command_s=0.05, write_s=0.05, content_s=0.05, message_s=0.2)


async def play(
    monkeypatch: pytest.MonkeyPatch, filter_: FilterInMemory, raw: bytes = MAIL, **options: object
) -> MtaOutcome:
    async def connect(host: str, port: int) -> object:
        assert (host, port) == ("127.0.0.1", 1)
        return filter_.reader, filter_

    monkeypatch.setattr(asyncio, "open_connection", connect)
    options.setdefault("sender", b"a@example.com")
    outcome = await play_message("inet:1@127.0.0.1", raw, **options)
    assert filter_.closed
    return outcome


def words(filter_: FilterInMemory) -> list[str]:
    return [type(event).__name__ for event in filter_.events if not isinstance(event, ev.Macros)]


async def test_a_message_is_played_as_postfix_plays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    filter_ = FilterInMemory()
    outcome = await play(monkeypatch, filter_, recipients=[b"b@example.org", b"c@example.org"], client_ip="192.0.2.7")
    assert outcome.action == "accept"
    assert outcome.error == ""
    assert words(filter_) == [
        *["Negotiate", "Connect", "Helo", "Mail", "Recipient", "Recipient", "Data"],
        *["Header", "Header", "Header", "EndOfHeaders", "Body", "EndOfBody", "Quit"],
    ]
    assert filter_.said(ev.Connect) == [ev.Connect(b"[192.0.2.7]", b"4", 54321, b"192.0.2.7")]
    assert filter_.said(ev.Header) == [
        ev.Header(b"From", b" a@example.com"),
        ev.Header(b"Subject", b"no space"),
        ev.Header(b"X-Fold", b" one\n two"),
    ]
    assert filter_.said(ev.Body) == [ev.Body(b"Hello\r\nyou\r\n")]
    assert outcome.message == b"From: a@example.com\r\nSubject:no space\r\nX-Fold: one\r\n two\r\n\r\nHello\r\nyou\r\n"


async def test_commands_are_buffered_until_an_answer_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    filter_ = FilterInMemory()
    await play(monkeypatch, filter_)
    assert filter_.writes == 4  # negotiation, up to RCPT, up to end of message, QUIT


async def test_macros_stand_before_their_command(monkeypatch: pytest.MonkeyPatch) -> None:
    filter_ = FilterInMemory()
    given = {b"i": b"4ABC", b"auth_authen": b"alice", b"{weather}": b"rain"}
    await play(monkeypatch, filter_, macros=given)
    pairs = list(zip(filter_.events, filter_.events[1:], strict=False))
    macros = {type(after): dict(event.values) for event, after in pairs if isinstance(event, ev.Macros)}
    assert macros[ev.Connect][b"j"] == b"mx.example.org"
    assert macros[ev.Connect][b"{daemon_name}"] == b"smtpd"
    assert macros[ev.Mail].items() >= {b"{auth_authen}": b"alice", b"{weather}": b"rain"}.items()
    assert macros[ev.Recipient][b"i"] == b"4ABC"
    assert macros[ev.Recipient][b"{rcpt_addr}"] == b"recipient@example.org"
    assert macros[ev.EndOfBody] == {b"i": b"4ABC"}


async def test_a_filter_chooses_its_macros(monkeypatch: pytest.MonkeyPatch) -> None:
    filter_ = FilterInMemory(wanted=Wanted(symlists=((c.SMFIM_ENVFROM, b"{mail_addr}"), (c.SMFIM_EOM, b"{none}"))))
    await play(monkeypatch, filter_)
    values = {event.command: dict(event.values) for event in filter_.said(ev.Macros)}
    assert values[c.SMFIC_MAIL] == {b"{mail_addr}": b"a@example.com"}
    assert values[c.SMFIC_BODYEOB] == {}
    assert b"i" in values[c.SMFIC_RCPT]


async def test_a_filter_that_answers_everything_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    filter_ = FilterInMemory(wanted=Wanted(steps=0))
    outcome = await play(monkeypatch, filter_)
    assert outcome.action == "accept"
    assert filter_.said(ev.Header)[0] == ev.Header(b"From", b"a@example.com")
    assert filter_.said(ev.Header)[2] == ev.Header(b"X-Fold", b"one\n two")


async def test_a_declined_body_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    filter_ = FilterInMemory(wanted=Wanted(steps=c.SMFIP_NOBODY | c.SMFIP_NODATA))
    await play(monkeypatch, filter_)
    assert filter_.said(ev.Body) == filter_.said(ev.Data) == []


async def test_a_long_body_comes_in_pieces_and_skip_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    long = b"Subject: x\n\n" + b"0123456789\n" * 20_000
    filter_ = FilterInMemory()
    outcome = await play(monkeypatch, filter_, long)
    pieces = [event.chunk for event in filter_.said(ev.Body)]
    assert [len(piece) for piece in pieces[:-1]] == [65_535] * (len(pieces) - 1)
    assert b"".join(pieces) == outcome.mail.body == b"0123456789\r\n" * 20_000
    skipping = FilterInMemory({ev.Body: [ev.Skip()]}, Wanted(steps=c.SMFIP_SKIP))
    assert (await play(monkeypatch, skipping, long)).action == "accept"
    assert len(skipping.said(ev.Body)) == 1


async def test_edits_are_told_and_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    edits = [
        ev.ChangeHeader(1, b"subject", b" [SPAM] x"),
        ev.Progress(),
        ev.InsertHeader(0, b"Authentication-Results", b" mx;\n\tspf=pass"),
        ev.AddHeader(b"X-Spam-Score", b" 7.5"),
        ev.ChangeHeader(1, b"X-Fold", b""),
        ev.ReplaceBody(b"new "),
        ev.ReplaceBody(b"body"),
        ev.ChangeFrom(b"<z@example.org>"),
        ev.AddRecipient(b"<y@example.org>"),
        ev.DeleteRecipient(b"<recipient@example.org>"),
    ]
    outcome = await play(monkeypatch, FilterInMemory({ev.EndOfBody: [*edits, ev.Accept()]}))
    assert outcome.action == "accept"
    assert list(outcome.edits) == [edit for edit in edits if edit != ev.Progress()]
    assert outcome.message == (
        b"Authentication-Results: mx;\r\n\tspf=pass\r\nFrom: a@example.com\r\nsubject: [SPAM] x\r\n"
        b"X-Spam-Score: 7.5\r\n\r\nnew body"
    )
    assert (outcome.mail.sender, outcome.mail.recipients) == (b"z@example.org", (b"y@example.org",))
    assert outcome.added_headers == [
        (b"subject", b"[SPAM] x"),
        (b"Authentication-Results", b"mx;\n\tspf=pass"),
        (b"X-Spam-Score", b"7.5"),
    ]
    assert outcome.end_of_message_s > 0


@pytest.mark.parametrize(
    ("script", "action", "reply"),
    [
        ({ev.EndOfBody: [ev.Continue()]}, "accept", b""),
        ({ev.EndOfBody: [ev.Quarantine(b"odd"), ev.Accept()]}, "quarantine", b""),
        ({ev.EndOfBody: [ev.Quarantine(b"odd"), ev.Reject()]}, "reject", b""),
        ({ev.EndOfBody: [ev.Discard()]}, "discard", b""),
        ({ev.EndOfBody: [ev.Tempfail()]}, "tempfail", b""),
        ({ev.EndOfBody: [ev.ReplyCode(b"550 5.7.1 100% no")]}, "reject", b"550 5.7.1 100% no"),
        ({ev.EndOfBody: [ev.ReplyCode(b"451-4.7.1 a\r\n451 4.7.1 b")]}, "tempfail", b"451-4.7.1 a\r\n451 4.7.1 b"),
        ({ev.Recipient: [ev.ReplyCode(b"550 5.1.1 no")]}, "reject", b"550 5.1.1 no"),
        ({ev.Recipient: [ev.Accept()]}, "accept", b""),
        ({ev.Connect: [ev.Tempfail()]}, "tempfail", b""),
        ({ev.Connect: [ev.Shutdown()]}, "tempfail", b""),
        ({ev.Mail: [ev.Discard()]}, "discard", b""),
        ({ev.Header: [ev.Reject()]}, "reject", b""),
    ],
    ids=repr,
)
async def test_the_answer_decides(
    monkeypatch: pytest.MonkeyPatch, script: dict[type, list[ev.Reply]], action: str, reply: bytes
) -> None:
    outcome = await play(monkeypatch, FilterInMemory(script, Wanted(steps=0)))
    assert (outcome.action, outcome.reply, outcome.error) == (action, reply, "")


async def test_a_refused_recipient_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class Choosy(FilterInMemory):
        def _answer(self, event: ev.Event) -> None:
            refuse = isinstance(event, ev.Recipient) and event.address == b"<b@example.org>"
            self._script = {ev.Recipient: [ev.ReplyCode(b"550 5.1.1 no")]} if refuse else {}
            super()._answer(event)

    outcome = await play(monkeypatch, Choosy(), recipients=[b"b@example.org", b"c@example.org"])
    assert outcome.action == "accept"
    assert outcome.rejected_recipients == ((b"b@example.org", b"550 5.1.1 no"),)
    assert outcome.mail.recipients == (b"c@example.org",)


@pytest.mark.parametrize(
    "raw",
    [
        {ev.EndOfBody: b""},
        {ev.Recipient: b""},
        {ev.Negotiate: b""},
        {ev.EndOfBody: b"\0\0\0\0"},
        {ev.EndOfBody: b"\xff\xff\xff\xff"},
        {ev.Recipient: b"\0\0\0\1b"},
        {ev.Negotiate: b"HTTP/1.1 400 Bad Request\r\n"},
    ],
    ids=repr,
)
async def test_a_filter_that_hangs_up_or_talks_nonsense_is_an_error(
    monkeypatch: pytest.MonkeyPatch, raw: dict[type, bytes]
) -> None:
    outcome = await play(monkeypatch, FilterInMemory(raw=raw))
    assert outcome.action == ""
    assert outcome.error
    assert "\n" not in outcome.error


@pytest.mark.parametrize("silent_at", [ev.Negotiate, ev.Recipient, ev.EndOfBody])
async def test_a_silent_filter_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch, silent_at: type) -> None:
    filter_ = FilterInMemory(raw={silent_at: b"\0\0\0"})
    outcome = await play(monkeypatch, filter_, timeouts=SHORT)
    assert "no answer" in outcome.error


async def test_progress_for_ever_ends_at_the_bound_of_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    filter_ = FilterInMemory(raw={ev.EndOfBody: b"\0\0\0\1p" * 3})
    outcome = await play(monkeypatch, filter_, timeouts=SHORT)
    assert "no answer" in outcome.error


async def test_a_filter_cannot_fill_our_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mta, "REPLY_BYTES_MAX", 1000)
    piece = (901).to_bytes(4) + b"b" + b"x" * 900
    outcome = await play(monkeypatch, FilterInMemory(raw={ev.EndOfBody: piece * 2 + b"\0\0\0\1a"}))
    assert "more than 1000 bytes" in outcome.error


async def test_an_address_that_is_none_is_an_error() -> None:
    assert "write inet:PORT@HOST" in (await play_message("nonsense", MAIL)).error


@pytest.mark.parametrize(
    "raw", [b"", b"\n", b"no header at all\n", b"\xff\0\r\0", b"Subject: x", b"X:" + b"y" * 300_000]
)
async def test_any_bytes_are_a_message(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    assert (await play(monkeypatch, FilterInMemory(), raw)).action == "accept"


async def test_a_nul_ends_what_filters_see_of_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    filter_ = FilterInMemory()
    await play(monkeypatch, filter_, b"Subject: a\0b\n\n\0body\n")
    assert filter_.said(ev.Header) == [ev.Header(b"Subject", b" a")]
    assert filter_.said(ev.Body) == [ev.Body(b"\0body\r\n")]


async def several(
    monkeypatch: pytest.MonkeyPatch, *filters: FilterInMemory, count: int = 2, manner: Manner | None = None
) -> list[MtaOutcome]:
    """Messages in turn; each connection gets the next filter."""
    waiting = list(filters)

    async def connect(_host: str, _port: int) -> object:
        filter_ = waiting.pop(0)
        return filter_.reader, filter_

    monkeypatch.setattr(asyncio, "open_connection", connect)
    mails = [mta.prepare(b"Subject: %d\n\nx\n" % number, b"s@x", [b"r@x"]).as_mail() for number in range(count)]
    outcomes = await deliver_in_turn("inet:1@127.0.0.1", mails, manner=manner or Manner(), timeouts=SHORT)
    assert [outcome.mail.fields[0][1] for outcome in outcomes] == [b" %d" % number for number in range(count)]
    assert not waiting
    return outcomes


async def test_messages_share_a_connection_with_rset_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    filter_ = FilterInMemory()
    outcomes = await several(monkeypatch, filter_)
    assert [outcome.action for outcome in outcomes] == ["accept", "accept"]
    message = ["Mail", "Recipient", "Data", "Header", "EndOfHeaders", "Body", "EndOfBody"]
    assert words(filter_) == ["Negotiate", "Connect", "Helo", *message, "Abort", *message, "Quit"]
    steps = [[step.command for step in outcome.steps] for outcome in outcomes]
    assert steps == [["OPTNEG", "RCPT", "BODYEOB"], ["RCPT", "BODYEOB"]]


async def test_what_the_greeting_decides_holds_for_every_message(monkeypatch: pytest.MonkeyPatch) -> None:
    filter_ = FilterInMemory({ev.Connect: [ev.ReplyCode(b"550 5.7.1 no")]}, Wanted(steps=0))
    outcomes = await several(monkeypatch, filter_)
    assert [outcome.reply for outcome in outcomes] == [b"550 5.7.1 no"] * 2
    assert filter_.said(ev.Mail) == []


async def test_a_broken_connection_costs_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = await several(monkeypatch, FilterInMemory(raw={ev.EndOfBody: b""}), FilterInMemory(), count=3)
    assert [outcome.action for outcome in outcomes] == ["", "accept", "accept"]
    assert [step.command for step in outcomes[0].steps] == ["OPTNEG", "RCPT"]


async def test_after_shutdown_the_next_message_has_a_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = await several(monkeypatch, FilterInMemory({ev.Recipient: [ev.Shutdown()]}), FilterInMemory())
    assert [outcome.action for outcome in outcomes] == ["tempfail", "accept"]


async def test_the_manner_decides_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    filter_ = FilterInMemory({ev.Unknown: [ev.Reject()]}, Wanted(steps=0))
    manner = Manner(
        offer=ev.Negotiate(4, 0x3F, 0),
        mail_args=(b"SMTPUTF8",),
        recipient_args=(b"NOTIFY=NEVER",),
        unknown=(b"XFOO",),
        says_data=False,
        chunk_bytes=2,
        stage_macros={c.SMFIC_UNKNOWN: {b"weather": b"rain"}, c.SMFIC_RCPT: {b"i": b"4X"}},
    )
    (outcome,) = await several(monkeypatch, filter_, count=1, manner=manner)
    assert outcome.action == "accept"
    assert filter_.said(ev.Negotiate) == [manner.offer]
    assert filter_.said(ev.Mail) == [ev.Mail(b"<s@x>", (b"SMTPUTF8",))]
    assert filter_.said(ev.Recipient) == [ev.Recipient(b"<r@x>", (b"NOTIFY=NEVER",))]
    assert filter_.said(ev.Unknown) == [ev.Unknown(b"XFOO")]
    assert filter_.said(ev.Data) == []
    assert filter_.said(ev.Body) == [ev.Body(b"x\r"), ev.Body(b"\n")]
    macros = {event.command: dict(event.values) for event in filter_.said(ev.Macros)}
    assert macros[c.SMFIC_UNKNOWN] == {b"{weather}": b"rain"}
    assert macros[c.SMFIC_RCPT][b"i"] == b"4X"
    assert macros[c.SMFIC_BODYEOB][b"i"] != b"4X"


@pytest.mark.parametrize(
    ("client", "event"),
    [
        (Client(ip=""), ev.Connect(b"localhost", c.SMFIA_UNKNOWN, 0, b"")),
        (Client(ip="2001:db8::1"), ev.Connect(b"[2001:db8::1]", c.SMFIA_INET6, 54321, b"2001:db8::1")),
        (Client(ip="/run/s", family=c.SMFIA_UNIX), ev.Connect(b"localhost", c.SMFIA_UNIX, 0, b"/run/s")),
        (Client(ip="1.2.3.4", hostname=b"a.b", port=5), ev.Connect(b"a.b", c.SMFIA_INET, 5, b"1.2.3.4")),
    ],
)
def test_a_client_of_each_family(client: Client, event: ev.Connect) -> None:
    assert connect_event(client) == event
