"""Milter events of one connection into transactions, and what each event asks of the shell. Pure: no I/O, no clock.

Strategy: `receive` notes what it learns in `transaction` and returns a want when the MTA waits for more than a plain
"continue": ask early, ask for the verdict, respond, close. The shell reads `transaction` to forward it. What
belongs to one message is dropped whole at Abort, MAIL, HELO and `finish`, so nothing of it reaches the next.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from gateway import tenancy
from gateway.body import BodyFile
from gateway.bounds import HeldBytes
from gateway.early import Stage
from gateway.macros import listed_macros
from gateway.snapshot import BrokenSnapshot, SavedQuestion, SavedSession, restore_transaction, save_transaction
from gateway.transaction import Client, Failure, Identity, Recipient, Transaction
from wire.milter import MacroTable, client_ip, folds_to_crlf, format_reply, strip_brackets
from wire.milter import constants as c
from wire.milter import events as ev

LF = 0x0A
"""As a number: `b"\\n" in value` raises and catches an exception inside before it searches."""
RECIPIENTS_MAX = 10_000
"""What an ingress takes (its default); the SMTP client sends the others in another transaction."""
HEADERS_MAX = 50_000
HEADER_BYTES_MAX = 2 * 1024 * 1024
"""Of the header section with CRLF line ends: half of what an ingress takes (its default)."""
STORED_BYTES_MIN = 256 * 1024
"""So much of a body goes to disk at once when memory is tight: going through a thread costs 0.1 ms (decision 0005)."""
RECIPIENT_BYTES = 256
"""What a recipient takes of our memory besides its text."""
TOO_MANY_REPLY = ev.ReplyCode(format_reply(452, "4.5.3", "Too many recipients"))  # RFC 5321 section 4.5.3.1.10
OVERSIZE_REPLY = ev.ReplyCode(format_reply(552, "5.3.4", "Message is too big for the mail filter"))


class Negotiate(msgspec.Struct, frozen=True, gc=False):
    """The MTA offers; answer with what holds."""

    offered: ev.Negotiate


class AskEarly(msgspec.Struct, frozen=True, gc=False):
    """The MTA waits for an answer at a stage before the end of the message."""

    stage: Stage
    transaction: Transaction
    """At CONNECT and HELO one of its own, of which only the client is known."""
    recipient: int = 0
    """At RCPT, the index of the recipient."""


class AskVerdict(msgspec.Struct, frozen=True, gc=False):
    """The message is complete; the MTA waits for its verdict."""


class Respond(msgspec.Struct, frozen=True, gc=False):
    """Answer this; no question is needed."""

    reply: ev.Reply


class RefuseMessage(msgspec.Struct, frozen=True, gc=False):
    """The message is not even asked about: it is over with this answer."""

    reply: ev.Reply


class Close(msgspec.Struct, frozen=True, gc=False):
    """The MTA said goodbye."""


Question = AskEarly | AskVerdict
Want = Negotiate | Question | Respond | RefuseMessage | Close


@dataclass(frozen=True, slots=True)
class SessionRules:
    """What the config says about transactions."""

    message_bytes_max: int
    stages: frozenset[Stage] = frozenset({Stage.RCPT})
    """Where the MTA waits before the end of the message."""
    tenants: Mapping[str, str] = field(default_factory=dict)
    daemon_tenants: Mapping[str, str] = field(default_factory=dict)
    outbound_daemons: frozenset[str] = frozenset()
    macros: tuple[str, ...] = ()
    """Those that are passed on."""
    spools: bool = False
    """Large bodies may go to disk."""
    sheds: bool = False
    """Too many sessions are open: no content is kept, and nobody is asked."""

    def shedding(self) -> "SessionRules":
        """The rules of a session above the bound: it may be refused at once, at CONNECT."""
        return replace(self, sheds=True, stages=self.stages | {Stage.CONNECT})


class Session:
    """The state of one milter connection above the codec."""

    def __init__(self, rules: SessionRules, held: HeldBytes, identify: Callable[[], Identity]) -> None:
        self.transaction: Transaction | None = None
        """The message that is being received or judged."""
        self.leading_space = False
        """Negotiated: header values come with their leading space."""
        self._rules = rules
        self._held = held
        self._identify = identify
        self._client = Client()
        self._macros = MacroTable()
        self._macros_for: int | None = None
        """The command that the latest macros announced, until MAIL or RCPT came."""
        self._fields = bytearray()
        """The header section until it ends."""

    def receive(self, event: ev.Event) -> Want | None:
        """Take one event. None = "continue", if the MTA waits at all."""
        return _HANDLERS[type(event)](self, event)

    def finish(self) -> None:
        """The transaction is over: judged, aborted, or its connection is gone."""
        self._fields.clear()
        self._macros_for = None
        if self.transaction is not None:
            self._held.release(self.transaction.held_bytes)
            self.transaction.body.release()
            self.transaction = None

    def snapshot(self, asked: Question | None) -> SavedSession:
        """All that is known of the connection, and the question whose answer the MTA waits for, for another process."""
        transaction = self.transaction
        question = None
        if isinstance(asked, AskEarly):
            client_only = save_transaction(asked.transaction) if asked.transaction is not transaction else None
            question = SavedQuestion(asked.stage, client_only, asked.recipient)
        elif asked is not None:
            question = SavedQuestion()
        return SavedSession(
            stages=self._rules.stages,
            leading_space=self.leading_space,
            client=self._client,
            macros=self._macros.stages(),
            macros_for=self._macros_for,
            fields=bytes(self._fields),
            transaction=save_transaction(transaction) if transaction is not None else None,
            question=question,
        )

    def resume(self, saved: SavedSession, body_file: BodyFile | None) -> Question | None:
        """Go on where another process left off, with the question to ask again. Raises BrokenSnapshot."""
        question, asked = saved.question, None
        transaction = restore_transaction(saved.transaction) if saved.transaction is not None else None
        if question is not None and question.stage is not None:
            about = restore_transaction(question.client_only) if question.client_only is not None else transaction
            if about is None:
                raise BrokenSnapshot("a question about no transaction")
            asked = AskEarly(question.stage, about, question.recipient)
        if transaction is not None:
            transaction.body.file = body_file
            if transaction.body.stored_bytes and body_file is None:
                raise BrokenSnapshot("the body did not come with it")
            self._held.resume(transaction.held_bytes)
        self.transaction = transaction
        # What was negotiated holds, whatever the config says by now.
        self._rules = replace(self._rules, stages=saved.stages)
        self.leading_space = saved.leading_space
        self._client = saved.client
        self._macros = MacroTable.of_stages(saved.macros)
        self._macros_for = saved.macros_for
        self._fields += saved.fields
        if transaction is not None:
            transaction.macros = listed_macros(self._macros, self._rules.macros)
        return AskVerdict() if question is not None and asked is None else asked

    @property
    def wants_disk(self) -> bool:
        """What came of the body should go to disk now."""
        transaction = self.transaction
        return (
            self._rules.spools
            and transaction is not None
            and transaction.body.memory_bytes >= STORED_BYTES_MIN
            and self._held.tight
        )

    def stored(self, size_bytes: int) -> None:
        """So much of the body went from memory to disk."""
        if self.transaction is not None:
            self._held.release(size_bytes)
            self.transaction.held_bytes -= size_bytes

    def fail(self, failure: Failure) -> None:
        """The content can no longer be kept: it is counted to its end, and gets no verdict."""
        if self.transaction is not None and self.transaction.keeps_content:
            self.transaction.failure = failure
            self._drop_content(self.transaction)

    def _negotiate(self, event: ev.Negotiate) -> Want:
        return Negotiate(event)

    def _note_macros(self, event: ev.Macros) -> None:
        self._macros.update(event)
        self._macros_for = event.command

    def _connect(self, event: ev.Connect) -> Want | None:
        self.finish()
        self._client = Client(
            ip=client_ip(event),
            port=event.port,
            hostname=event.hostname,
            daemon_name=self._text(b"daemon_name"),
            mta_name=self._text(b"j"),
        )
        return self._ask_about_client(Stage.CONNECT)

    def _helo(self, event: ev.Helo) -> Want | None:
        self.finish()
        self._client = msgspec.structs.replace(
            self._client,
            helo=event.name,
            tls_version=self._text(b"tls_version"),
            cert_subject=self._text(b"cert_subject"),
            cert_issuer=self._text(b"cert_issuer"),
        )
        return self._ask_about_client(Stage.HELO)

    def _ask_about_client(self, stage: Stage) -> AskEarly | None:
        if stage not in self._rules.stages:
            return None
        return AskEarly(stage, self._begin(b"", has_mail=False))

    def _mail(self, event: ev.Mail) -> Want | None:
        announced = self._announced(c.SMFIC_MAIL)
        self.finish()
        if not announced:
            # An MTA that sends no macros with this MAIL must not give it the user of the last one.
            self._macros.forget_transaction()
        transaction = self._begin(self._macros.get(b"auth_authen"), has_mail=True)
        transaction.auth_type = self._text(b"auth_type")
        transaction.sender = strip_brackets(event.address)
        transaction.esmtp_args = event.esmtp_args
        transaction.queue_id = self._text(b"i")
        self.transaction = transaction
        return AskEarly(Stage.MAIL, transaction) if Stage.MAIL in self._rules.stages else None

    def _begin(self, auth_user: bytes, *, has_mail: bool) -> Transaction:
        client, rules = self._client, self._rules
        return Transaction(
            identity=self._identify(),
            client=client,
            auth_user=auth_user,
            direction=tenancy.direction(auth_user, client.daemon_name, client.ip, rules.outbound_daemons),
            tenant=tenancy.tenant_of_sender(auth_user, client.daemon_name, rules.tenants, rules.daemon_tenants),
            has_mail=has_mail,
            failure=Failure.OVERLOADED if rules.sheds else None,
        )

    def _recipient(self, event: ev.Recipient) -> Want | None:
        transaction = self.transaction
        if transaction is None:
            return None
        address = strip_brackets(event.address)
        index = len(transaction.recipients)
        waits = Stage.RCPT in self._rules.stages
        if index >= RECIPIENTS_MAX:
            if waits:
                return Respond(TOO_MANY_REPLY)
            # Nobody waits for an answer here: the message is refused as a whole.
            transaction.oversize = True
            self._drop_content(transaction)
            return None
        kept_bytes = RECIPIENT_BYTES + len(address) + sum(map(len, event.esmtp_args))
        if self._may_keep(transaction, kept_bytes):
            transaction.envelope_bytes += kept_bytes
            tenant = tenancy.tenant_of_address(address, self._rules.tenants)
            transaction.recipients.append(Recipient(address, event.esmtp_args, tenant))
        if self._announced(c.SMFIC_RCPT) and self._macros.get(b"rcpt_mailer") == b"error":
            # SMFIP_RCPT_REJ: the MTA has refused it already and only lets us know.
            transaction.refused.add(index)
            return None
        return AskEarly(Stage.RCPT, transaction, index) if waits else None

    def take_fields(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Header fields (name, value) that the MTA does not wait for."""
        transaction = self.transaction
        if transaction is None:
            return
        colon = b":" if self.leading_space else b": "
        lines = b"".join(
            [b"%b%b%b\r\n" % (name, colon, folds_to_crlf(value) if LF in value else value) for name, value in fields]
        )
        transaction.headers += len(fields)
        transaction.header_bytes += len(lines)
        if self._may_keep(transaction, len(lines)):
            self._fields += lines

    def _header(self, event: ev.Header) -> None:
        self.take_fields([(event.name, event.value)])

    def _end_of_headers(self, _event: ev.EndOfHeaders) -> None:
        transaction = self.transaction
        if transaction is None:
            return
        transaction.queue_id = self._text(b"i") or transaction.queue_id
        if transaction.keeps_content:
            transaction.header_block = bytes(self._fields)
        self._fields.clear()

    def _body(self, event: ev.Body) -> None:
        if self.transaction is not None:
            self._keep_chunk(self.transaction, event.chunk)

    def _end_of_body(self, event: ev.EndOfBody) -> Want | None:
        transaction = self.transaction
        if transaction is None:
            return None
        self._keep_chunk(transaction, event.chunk)
        transaction.queue_id = self._text(b"i") or transaction.queue_id
        transaction.macros = listed_macros(self._macros, self._rules.macros)
        return RefuseMessage(OVERSIZE_REPLY) if transaction.oversize else AskVerdict()

    def _abort(self, _event: ev.Abort) -> None:
        self.finish()

    def _quit(self, _event: ev.Quit) -> Want:
        self.finish()
        return Close()

    def _quit_new_connection(self, _event: ev.QuitNewConnection) -> None:
        self.finish()
        self._macros.forget_connection()
        self._client = Client()

    def _nothing(self, _event: ev.Event) -> None:
        """DATA and unknown commands: asked not to be sent, and harmless."""
        self._macros_for = None

    def _keep_chunk(self, transaction: Transaction, chunk: bytes) -> None:
        if chunk:
            transaction.body_bytes += len(chunk)
            if self._may_keep(transaction, len(chunk)):
                transaction.body.append(chunk)

    def _may_keep(self, transaction: Transaction, size_bytes: int) -> bool:
        """Count bytes of the copy; False, and its content is dropped, when a bound is passed."""
        if not transaction.keeps_content:
            return False
        if (
            transaction.message_bytes > self._rules.message_bytes_max
            or transaction.header_bytes > HEADER_BYTES_MAX
            or transaction.headers > HEADERS_MAX
        ):
            transaction.oversize = True
        elif not self._held.take(size_bytes):
            transaction.failure = Failure.OVERLOADED
        else:
            transaction.held_bytes += size_bytes
            return True
        self._drop_content(transaction)
        return False

    def _drop_content(self, transaction: Transaction) -> None:
        self._held.release(transaction.held_bytes - transaction.envelope_bytes)
        transaction.held_bytes = transaction.envelope_bytes
        transaction.header_block = None
        transaction.body.release()
        self._fields.clear()

    def _announced(self, command: int) -> bool:
        """Whether macros came right before this command."""
        announced, self._macros_for = self._macros_for == command, None
        return announced

    def _text(self, macro: bytes) -> str:
        return self._macros.get(macro).decode("utf-8", "replace")


_HANDLERS: Mapping[type, Callable[..., Want | None]] = {
    ev.Negotiate: Session._negotiate,  # noqa: SLF001
    ev.Macros: Session._note_macros,  # noqa: SLF001 - the table belongs to the class
    ev.Connect: Session._connect,  # noqa: SLF001
    ev.Helo: Session._helo,  # noqa: SLF001
    ev.Mail: Session._mail,  # noqa: SLF001
    ev.Recipient: Session._recipient,  # noqa: SLF001
    ev.Data: Session._nothing,  # noqa: SLF001
    ev.Header: Session._header,  # noqa: SLF001
    ev.EndOfHeaders: Session._end_of_headers,  # noqa: SLF001
    ev.Body: Session._body,  # noqa: SLF001
    ev.EndOfBody: Session._end_of_body,  # noqa: SLF001
    ev.Abort: Session._abort,  # noqa: SLF001
    ev.Quit: Session._quit,  # noqa: SLF001
    ev.QuitNewConnection: Session._quit_new_connection,  # noqa: SLF001
    ev.Unknown: Session._nothing,  # noqa: SLF001
}
