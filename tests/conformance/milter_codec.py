"""A scenario between our two ends of the codec: the MTA's says it, the filter's answers what the scenario answers."""

from dataclasses import replace

from gateway.replies import for_verdict
from tamis.filter.v1 import verdict_pb2 as pb
from tests.conformance import milter_events as words
from tests.conformance.milter_children import edits
from tests.conformance.milter_scenarios import Option, Scenario, Step
from wire.milter import NEED_DATA, FilterConnection, MtaConnection, Wanted
from wire.milter import constants as c
from wire.milter import events as ev

ANSWERS: dict[str, ev.Answer] = {
    "continue": ev.Continue(),
    "accept": ev.Accept(),
    "reject": ev.Reject(),
    "temporary-failure": ev.Tempfail(),
    "discard": ev.Discard(),
}


class CodecPlayer:
    """The filter is the scenario's first child in what it wants, and all of them together in what it answers."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._first = scenario.children[0] if scenario.children else ()
        self._keeps_space = words.keeps_space(scenario)
        self._mta = MtaConnection()
        self._filter = FilterConnection(offer=self._wanted(self._first))
        self._fields: list[tuple[bytes, bytes]] = []
        self.compared = 0
        """Answers and values that were held against the scenario."""

    def play(self) -> None:
        for step in self._scenario.steps:
            if not words.not_said(step):
                self._play(step)

    def _play(self, step: Step) -> None:
        if macros := words.macros(step):
            self._filter.receive_data(self._mta.send(ev.Macros(words.COMMANDS[step.command], macros)))
            heard = self._filter.next_event()
            assert isinstance(heard, ev.Macros)
            assert {name.strip(b"{}"): value for name, value in heard.values} == words.macros_at_filter(step)
            self.compared += 1
        event = words.said(step, field=self._field(step))
        data = self._mta.send(event)
        if step.command == "body":
            # Nothing of a body reaches a filter that declined or skipped it.
            assert (data == b"") == (step.values.get("n_received", "0") == "0" or self._declines_body)
        if not data:
            self.compared += 1
            return
        self._filter.receive_data(data)
        heard = self._filter.next_event()
        assert words.received(heard) == words.expected_at_filter(step, event)
        self.compared += 1
        if isinstance(heard, ev.Negotiate):
            self._negotiate(step, heard)
        elif self._filter.awaiting_reply:
            self._answer(step)

    def _negotiate(self, step: Step, offered: ev.Negotiate) -> None:
        assert offered == words.said(step)
        answer = self._filter.negotiate(offered)
        self._mta.receive_data(self._filter.send(answer))
        assert self._mta.next_event() == answer
        if "option" in step.values and step is self._scenario.steps[-1]:
            # A file that imports this step has other children, who want other things.
            version, actions, steps = step.values["option"].split(";")
            negotiated = (int(version), words.flags(words.ACTIONS, actions), words.flags(words.STEPS, steps))
            assert (answer.version, answer.actions, answer.steps) == negotiated

    def _answer(self, step: Step) -> None:
        replies = [*self._edits(step), self._final(step)]
        for reply in replies:
            self._mta.receive_data(self._filter.send(reply))
        heard = [self._mta.next_event() for _ in replies]
        assert heard == replies
        assert self._mta.next_event() is NEED_DATA
        assert not self._mta.awaiting_reply
        self.compared += len(replies)

    def _edits(self, step: Step) -> list[ev.Reply]:
        """At end of message, as the scenario's children ask for them."""
        if step.command != "end-of-message":
            return []
        fields, self._fields = tuple(self._fields), []
        negotiated = self._mta.negotiated
        assert negotiated is not None
        # Children may ask for what the MTA of an evaluation never hears of; the codec carries it all the same.
        made, reason = edits(fields, self._scenario.children)
        action = pb.ACTION_QUARANTINE if reason else pb.ACTION_ACCEPT
        replies = for_verdict(pb.Verdict(action=action, edits=made, quarantine_reason=reason), negotiated)
        progress = [ev.Progress()] * int(step.values.get("n_progresses", "0"))
        return [*progress, *replies[:-1]]

    def _final(self, step: Step) -> ev.Reply:
        answer = ANSWERS[step.status]
        if step.command == "body" and self._skips(step.text("chunk")):
            return ev.Skip()
        if "reply_codes" in step.values:
            return ev.ReplyCode(self._scenario.children_say("reply-code")[0].encode())
        return answer

    def _field(self, step: Step) -> tuple[bytes, bytes]:
        if step.command != "header":
            return b"", b""
        name, raw = words.raw_field(step, keeps_space=self._keeps_space)
        self._fields.append((name, raw))
        negotiated = self._filter.negotiated
        assert negotiated is not None
        return name, raw if negotiated.steps & c.SMFIP_HDR_LEADSPC else raw.removeprefix(b" ")

    @property
    def _declines_body(self) -> bool:
        return not self._mta.wants(c.SMFIC_BODY)

    def _skips(self, chunk: bytes) -> bool:
        rules = dict(self._first)
        return rules.get("action") == "skip" and rules["body-regexp"].encode() in chunk

    @staticmethod
    def _wanted(options: tuple[Option, ...]) -> Wanted:
        steps = 0
        for name, value in options:
            if name == "negotiate-flags":
                steps |= words.flags(words.STEPS, value)
            elif (name, value) == ("action", "skip"):
                steps |= c.SMFIP_SKIP
        return replace(Wanted(), steps=steps)
