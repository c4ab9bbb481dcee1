"""A scenario against our gateway in memory: its cluster answers what the scenario's filters answer together.

Strategy: CONNECT, HELO, MAIL, RCPT and the end of message are asked about. An answer that our cluster only gives at
the end (accept and discard before it, anything at DATA, headers and body) is the message's fate: the MTA hears
"continue", says the message to its end, and must hear the fate there. Where a scenario's filters cannot be reached, or
answer what no filter may, the failure policy answers, from RCPT on. In the end another message shows that nothing was
left behind.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from cli.edits import Mail, apply_edits
from gateway.config import EarlyConfig
from gateway.driver import PROGRESS_S
from gateway.early import Stage
from gateway.failure_policy import OnFailureConfig
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tamis.filter.v1 import verdict_pb2 as pb
from tests.conformance import milter_events as words
from tests.conformance.milter_children import edits
from tests.conformance.milter_scenarios import Scenario, Step
from tests.gateway.fake_ingress import Cell, FakeIngress, Heard, at_stage, verdict
from tests.gateway.mta import Heard as Ended
from tests.gateway.rig import rigged
from wire.milter import State
from wire.milter import constants as c
from wire.milter import events as ev

ACTIONS = {"reject": pb.ACTION_REJECT, "temporary-failure": pb.ACTION_TEMPFAIL, "discard": pb.ACTION_DISCARD}
ANY_REPLY = {
    "reject": pb.Reply(code=550, enhanced="5.7.1", text="No"),
    "temporary-failure": pb.Reply(code=451, enhanced="4.7.1", text="Later"),
}
POLICIES = {"accept": "accept", "reject": "reject", "temporary-failure": "tempfail", "continue": "accept"}
EARLY = {"connect", "helo", "envelope-from", "envelope-recipient"}
AT_THE_END_ONLY = {"accept", "discard"}
WRONG_ORDER = "leader/delete-header-many"
"""The suite itself says of this file that the order of its header fields is wrong."""


@dataclass
class Message:
    """What the MTA said of one message."""

    sender: bytes = b""
    recipients: list[bytes] = field(default_factory=list)
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""


class GatewayPlayer:
    """One scenario; `on_trial` are the children whose answers a manager only notes."""

    def __init__(self, scenario: Scenario, on_trial: Sequence[int] = ()) -> None:
        self._scenario = scenario
        self._children = [options for number, options in enumerate(scenario.children) if number not in on_trial]
        self._keeps_space = words.keeps_space(scenario)
        self._ingress = FakeIngress(stage=self._judge_client, recipient=self._judge_recipient, judge=self._judge)
        self._policy = ""
        self._status = "continue"
        """What the cluster answers before the end of the message."""
        self._fate = ""
        self._message = Message()
        self._earlier_fields: list[tuple[bytes, bytes]] = []
        self._waits_progress = 0
        self.compared = 0
        """Answers and values that were held against the scenario."""

    async def play(self, policy: str = "", *, reachable: bool = True) -> None:
        """All steps, the fate, and one more message. `policy`: what the failure policy says, if it has to."""
        self._policy = policy
        cell = Cell(a=self._ingress) if reachable else Cell()
        action = POLICIES[policy or "accept"]
        settings = {
            "early": EarlyConfig(stages=tuple(Stage)),
            "on_failure": OnFailureConfig(unreachable=action, internal=action),
            "ingress_budget_s": 1.0,
        }
        async with rigged(cell, "a", **settings) as rig:
            self._rig, self._cell, self._mta = rig, cell, rig.connect()
            for step in self._scenario.steps:
                if not (self._fate or words.not_said(step)):
                    await self._play(step)
            if self._mta.codec.state is not State.CLOSED:
                await self._end_message()
            if self._mta.codec.state is not State.CLOSED and "a" in cell.ingresses:
                await self._another_message()
        assert self._ingress.faults == []

    async def play_whole_message(self) -> None:
        """The files that only name how a message ends: the children's one rule is asked at MAIL and RCPT."""
        ended = {"status: pass": "continue", "status: reject": "reject"}[self._scenario.expected]
        async with rigged(Cell(a=self._ingress), early=EarlyConfig(stages=tuple(Stage))) as rig:
            self._mta = rig.connect()
            await self._mta.open()
            sender, recipient = b"<sender@example.com>", b"<receiver@example.com>"
            answers = []
            for event, option in ((ev.Mail(sender), "envelope-from"), (ev.Recipient(recipient), "envelope-recipient")):
                address = event.address.decode()
                if not answers or answers[-1] == "continue":
                    self._status = "reject" if address in self._scenario.children_say(option) else "continue"
                    answers.append(_status_of(await self._mta.say(event)))
                    self._note(event)
            self._fate = "continue"
            if answers[-1] == "continue":
                await self._say_rest()
            assert answers[-1] == ended
            self.compared += 1

    async def _play(self, step: Step) -> None:
        if step.command in self._scenario.children_say("quit-without-reply"):
            self._cell.kill("a")
        if macros := words.macros(step):
            await self._mta.say(ev.Macros(words.COMMANDS[step.command], macros))
        early = step.command in EARLY and step.status not in AT_THE_END_ONLY
        self._status = step.status if early else "continue"
        if step.status not in ("", "continue") and step.command != "end-of-message" and (self._policy or not early):
            self._fate = step.status
        event = words.said(step, field=self._field(step))
        if isinstance(event, ev.EndOfBody):
            await self._end(step, event)
        elif isinstance(event, ev.Quit):
            await self._mta.say(event)
            self._mta.flush()
            await asyncio.sleep(0.1)
            assert self._rig.transports[-1].closed
            self.compared += 1
        else:
            self._compare(step, await self._mta.say(event))
        if isinstance(event, ev.Abort):
            self._mta.flush()
            await asyncio.sleep(0.1)
            assert self._ingress.open == {}
        self._note(event)
        if macros:
            self._compare_macros(step)

    def _compare(self, step: Step, reply: ev.Reply | None) -> None:
        if isinstance(reply, ev.Negotiated):
            offered = words.said(step)
            assert isinstance(offered, ev.Negotiate)
            assert (reply.version, reply.actions) == (offered.version, offered.actions)
            assert not reply.steps & ~offered.steps
        else:
            assert _status_of(reply) == ("continue" if self._fate else step.status or "continue")
            if "reply_codes" in step.values and not self._fate:
                assert reply == ev.ReplyCode(step.text("reply_codes"))
        self.compared += 1

    def _compare_macros(self, step: Step) -> None:
        """The cluster is told of those that it has a field for."""
        macros = words.macros_at_filter(step)
        begin = self._ingress.asked[-1].begin
        told = {
            b"daemon_name": begin.daemon_name,
            b"j": begin.mta_name,
            b"auth_authen": begin.client.auth_user.decode(),
            b"auth_type": begin.client.auth_type,
        }
        for name in told.keys() & macros.keys():
            assert told[name] == macros[name].decode()
            self.compared += 1

    def _field(self, step: Step) -> tuple[bytes, bytes]:
        if step.command != "header":
            return b"", b""
        return self._as_sent(*words.raw_field(step, keeps_space=self._keeps_space))

    def _as_sent(self, name: bytes, raw: bytes) -> tuple[bytes, bytes]:
        self._message.fields.append((name, raw))
        return name, raw if self._leading else raw.removeprefix(b" ")

    @property
    def _leading(self) -> bool:
        negotiated = self._mta.codec.negotiated
        assert negotiated is not None
        return bool(negotiated.steps & c.SMFIP_HDR_LEADSPC)

    def _note(self, event: ev.Event) -> None:
        match event:
            case ev.Mail(address):
                self._message = Message(address[1:-1])
            case ev.Recipient(address):
                self._message.recipients.append(address[1:-1])
            case ev.Body(chunk):
                self._message.body += chunk
            case _:
                pass

    async def _end(self, step: Step, event: ev.EndOfBody) -> None:
        self._fate = step.status
        self._waits_progress = int(step.values.get("n_progresses", "0"))
        ended = await self._hear_end(event)
        if "reply_codes" in step.values:
            assert ended.final == ev.ReplyCode(step.text("reply_codes"))
        sent = Mail(self._message.sender, tuple(self._message.recipients), tuple(self._message.fields), b"")
        got = apply_edits(sent, ended.edits, leading_space=self._leading)
        # The suite's MTA keeps the header fields of earlier messages in its list; ours must not see them.
        fields = [*self._earlier_fields, *got.fields]
        self._earlier_fields += self._message.fields
        if self._scenario.name == WRONG_ORDER:
            fields.reverse()
        assert _in_words(step, fields, ended.edits, keeps_space=self._keeps_space) == _expected(step)
        self._message, self._fate = Message(), ""
        self.compared += 6

    async def _hear_end(self, event: ev.EndOfBody) -> Ended:
        """End of message: the edits and the answer; what the cluster has heard, against what was said."""
        self._message.body += event.chunk
        self._mta._waiting += self._mta.codec.send(event)
        ended = Ended()
        await self._mta.hear_verdict(ended)
        assert _status_of(ended.final) == ("accept" if self._fate == "continue" else self._fate)
        assert ended.progress == self._waits_progress
        self._waits_progress = 0
        if self._ingress.judged:
            heard, said = self._ingress.judged.pop(), self._message
            assert heard.headers is not None
            assert (heard.sender, heard.recipients) == (said.sender, said.recipients)
            assert heard.headers.header_block == b"".join(b"%b:%b\r\n" % field for field in said.fields)
            assert heard.body == said.body
        return ended

    async def _end_message(self) -> None:
        """Say what is left of a message whose fate is open, and hear it."""
        if self._fate:
            self._status = self._fate if self._policy else "continue"
            await self._say_rest()
            self.compared += 1
        if self._mta.codec.state is not State.READY:
            await self._mta.say(ev.Abort())

    async def _another_message(self) -> None:
        self._children, self._status, self._fate = [], "continue", "continue"
        await self._say_rest()

    async def _say_rest(self) -> None:
        state = self._mta.codec.state
        rest: list[ev.Event] = []
        if state is State.READY:
            rest += [ev.Connect(b"mx.local.net", c.SMFIA_INET, 2929, b"192.168.1.29")]
        if state in (State.READY, State.IDLE):
            rest += [ev.Helo(b"delian"), ev.Mail(b"<a@example.com>")]
        if state not in (State.HEADERS, State.BODY):
            rest += [ev.Recipient(b"<last@example.com>"), ev.Data()]
        if state is not State.BODY:
            rest += [ev.Header(b"Last", b"field"), ev.EndOfHeaders()]
        for event in rest:
            field = self._as_sent(event.name, b" " + event.value) if isinstance(event, ev.Header) else None
            status = _status_of(await self._mta.say(ev.Header(*field) if field else event))
            if self._policy and status == self._fate and isinstance(event, ev.Recipient):
                return
            assert status == "continue"
            self._note(event)
        await self._hear_end(ev.EndOfBody())

    def _judge_client(self, heard: Heard) -> filter_pb.Answer:
        if self._status == "continue":
            return at_stage(pb.ACTION_ACCEPT)(heard)
        answer = at_stage(ACTIONS[self._status])(heard)
        answer.stage_verdict.reply.CopyFrom(self._reply(self._status))
        return answer

    def _judge_recipient(self, heard: Heard) -> filter_pb.Answer:
        early = pb.RecipientVerdict(recipient=len(heard.recipients) - 1, action=pb.ACTION_ACCEPT)
        if self._status != "continue":
            early.action = ACTIONS[self._status]
            early.reply.CopyFrom(self._reply(self._status))
        return filter_pb.Answer(transaction=heard.number, recipient_verdict=early)

    def _judge(self, heard: Heard) -> filter_pb.Answer | None:
        if self._waits_progress:
            delay_s = PROGRESS_S * (self._waits_progress + 0.5)
            asyncio.get_running_loop().call_later(delay_s, self._cell.pipes["a"].answer, self._verdict(heard))
            self._ingress.judged.append(heard)
            return None
        return self._verdict(heard)

    def _verdict(self, heard: Heard) -> filter_pb.Answer:
        if self._fate in ACTIONS:
            answer = verdict(ACTIONS[self._fate])(heard)
            if self._fate in ANY_REPLY:
                answer.verdict.reply.CopyFrom(self._reply(self._fate))
            return answer
        made, reason = edits(tuple(self._message.fields), self._children)
        action = pb.ACTION_QUARANTINE if reason else pb.ACTION_ACCEPT
        return verdict(action, edits=made, quarantine_reason=reason)(heard)

    def _reply(self, status: str) -> pb.Reply:
        """The one that a child chose, else any of that class."""
        if texts := self._scenario.children_say("reply-code"):
            code, enhanced, text = texts[0].split(" ", 2)
            return pb.Reply(code=int(code), enhanced=enhanced, text=text)
        return ANY_REPLY[status]


def _status_of(reply: ev.Reply | None) -> str:
    match reply:
        case ev.ReplyCode(text):
            return "reject" if text.startswith(b"5") else "temporary-failure"
        case ev.Continue() | None:
            return "continue"
    names = {ev.Accept: "accept", ev.Reject: "reject", ev.Tempfail: "temporary-failure", ev.Discard: "discard"}
    return names[type(reply)]


Result = dict[str, list[str]]
RESULTS = ("headers", "replace_bodies", "add_recipients", "delete_recipients", "change_froms", "quarantine_reasons")


def _expected(step: Step) -> Result:
    return {key: step.words(key) for key in RESULTS}


def _in_words(
    step: Step, fields: Sequence[tuple[bytes, bytes]], made: Sequence[ev.Reply], *, keeps_space: bool
) -> Result:
    """The message after the edits, and the edits, as a scenario writes them."""
    bodies = b"".join(edit.chunk for edit in made if isinstance(edit, ev.ReplaceBody)).decode()
    headers = [(b"%b:%b" % (name, raw if keeps_space else raw.removeprefix(b" "))).decode() for name, raw in fields]
    return {
        "headers": headers if "headers" in step.values else [],
        "replace_bodies": [bodies] if bodies else [],
        "add_recipients": [edit.address[1:-1].decode() for edit in made if isinstance(edit, ev.AddRecipient)],
        "delete_recipients": [edit.address[1:-1].decode() for edit in made if isinstance(edit, ev.DeleteRecipient)],
        "change_froms": [edit.address[1:-1].decode() for edit in made if isinstance(edit, ev.ChangeFrom)],
        "quarantine_reasons": [edit.reason.decode() for edit in made if isinstance(edit, ev.Quarantine)],
    }
