"""The call Learn: from its request to an example in the journal, and what became of it.

The journal is opened at the first call and anew when the settings have changed; the supervisor looks neither into the
message nor learns: that is for the classifier's processes.
"""

import time
from typing import TYPE_CHECKING

from actors.classifier.learning.bounds import Refusal, SourceKind
from actors.config import JudgementConfig
from actors.registry import build_journal
from cluster.admin.access import Principal, Role
from cluster.admin.control import NotNow, Refused
from tamis.admin.v1 import admin_service_pb2 as pb
from wire.message import split_message

if TYPE_CHECKING:
    from actors.classifier.learning.example import Example, Label
    from actors.classifier.learning.journal import Journal

MESSAGE_BYTES_MAX = 768 * 1024

_KINDS = {
    pb.SOURCE_USER: SourceKind.USER,
    pb.SOURCE_TENANT: SourceKind.TENANT,
    pb.SOURCE_TRAP: SourceKind.TRAP,
    pb.SOURCE_OPERATOR: SourceKind.OPERATOR,
}
_OUTCOMES = {
    "accepted": pb.LEARN_OUTCOME_ACCEPTED,
    "known": pb.LEARN_OUTCOME_KNOWN,
    Refusal.TOO_MANY: pb.LEARN_OUTCOME_TOO_MANY,
    Refusal.TOO_MUCH: pb.LEARN_OUTCOME_TOO_MUCH,
    Refusal.BACKLOG: pb.LEARN_OUTCOME_BACKLOG,
}


class Unfit(Refused):
    """The request cannot be learnt as it is; the text is one line for whoever teaches."""


class RoleNeeded(Refused):
    """The token's role may not teach so."""


def kind_of(request: pb.LearnRequest) -> SourceKind:
    """Who teaches. Raises Unfit for a kind of another release."""
    if request.source == pb.SOURCE_UNSPECIFIED:
        if request.user:
            return SourceKind.USER
        return SourceKind.TENANT if request.tenant else SourceKind.OPERATOR
    kind = _KINDS.get(request.source)
    if kind is None:
        raise Unfit(f"no source {request.source}")
    return kind


def example_of(request: pb.LearnRequest, principal: Principal, at_s: float) -> "Example":
    """What the request teaches. Raises Unfit and RoleNeeded."""
    from actors.classifier.learning.example import BODY_BYTES_MAX, Example  # noqa: PLC0415  NumPy only where it is used

    kind = kind_of(request)
    if kind is SourceKind.OPERATOR and principal.role < Role.OPERATOR:
        role = principal.role.name.lower()
        raise RoleNeeded(
            f"{principal.name} is a {role}: it teaches for users, tenants and traps, say --user or --tenant"
        )
    if len(request.message) > MESSAGE_BYTES_MAX:
        raise Unfit(f"the message is above {MESSAGE_BYTES_MAX} bytes and was not cut")
    source = {SourceKind.USER: request.user.decode("utf-8", "replace"), SourceKind.TENANT: request.tenant}
    text = split_message(request.message)
    return Example(
        label=_label(request.label),
        kind=kind,
        source=source.get(kind, principal.name),
        tenant=request.tenant,
        user=request.user,
        header_block=text.header_block,
        body=text.body[:BODY_BYTES_MAX],
        at_s=at_s,
    )


def _label(label: pb.Label) -> "Label":
    from actors.classifier.learning.example import Label  # noqa: PLC0415

    labels = {pb.LABEL_SPAM: Label.SPAM, pb.LABEL_HAM: Label.HAM, pb.LABEL_FORGET: Label.FORGET}
    if label not in labels:
        raise Unfit("a message is taught as spam, as ham or to be forgotten")
    return labels[label]


class LearningDesk:
    """Takes examples for the cell whose settings it is given."""

    def __init__(self) -> None:
        self._journal: Journal | None = None
        self._settings: JudgementConfig | None = None

    async def learn(
        self, request: pb.LearnRequest, principal: Principal, settings: JudgementConfig
    ) -> pb.LearnResponse:
        """Have it learnt. Raises Refused: Unfit, RoleNeeded, NotNow, or that nothing is learnt here."""
        from actors.classifier.learning.door import submit  # noqa: PLC0415
        from actors.classifier.learning.example import ExampleError  # noqa: PLC0415
        from actors.classifier.learning.journal import JournalAway  # noqa: PLC0415

        journal = self._journal
        if settings is not self._settings:
            self._journal, self._settings = build_journal(settings), settings
            if journal is not None:
                await journal.close()
            journal = self._journal
        if journal is None:
            raise Refused("nothing is learnt here: that needs [redis] url and [classifier.learning] enabled")
        try:
            example = example_of(request, principal, time.time())
            answer = await submit(journal, settings.classifier.learning, example)
        except ExampleError as error:
            raise Unfit(str(error)) from error
        except JournalAway as error:
            raise NotNow(f"Redis does not answer ({error})") from error
        return pb.LearnResponse(outcome=_OUTCOMES[answer])
