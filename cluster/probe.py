"""Health by real work: a tiny message on the way that every message takes, to a replica or through an ingress.

A process whose loop turns, and answers pings, may still be of no use: an actor that raises at every message, a model
that is broken, an ingress that reaches nobody. What is late is no sign of that, since a name server or clamd may be the
cause, and a new process would wait for them as long.
"""

import asyncio
from collections.abc import Callable

from actors.model import ErrorKind, Outcome, Stage
from cluster.codec import stage_to_proto
from cluster.ingress.hall import Hall
from cluster.ingress.retell import whole_message
from cluster.ingress.session import Session
from cluster.replica_stream import Dialer
from cluster.table import Replica, Table
from tamis.filter.v1 import examine_service_pb2, filter_service_pb2, message_pb2, verdict_pb2

_HEADER = b"From: probe@tamis.invalid\r\nSubject: probe\r\n"
_BODY = b"This message proves that a process works.\r\n"
_DECIDE_S = 1.0
"""On top of the budget, whose end is answered for too, by the host and by the ingress."""
_FULL = filter_service_pb2.Refused.REASON_OVERLOADED, filter_service_pb2.Refused.REASON_DRAINING


async def probe_replica(replica: Replica, budget_s: float, at_work: Callable[[], bool]) -> str:
    """Have the replica examine the message; what is wrong, one line, empty when nothing is.

    One that is late is well when it was `at_work` meanwhile: another one in its place would be as far behind.
    """
    message = message_pb2.Message(header_block=_HEADER, body=_BODY).SerializeToString()
    stage = stage_to_proto(Stage.MESSAGE)
    task = examine_service_pb2.Task(task=1, stage=stage, budget_ms=int(budget_s * 1000), message=message)
    answers: asyncio.Queue[examine_service_pb2.TaskResult] = asyncio.Queue()

    def receive(payload: bytes) -> None:
        for result in examine_service_pb2.ExamineResponse.FromString(payload).results:
            answers.put_nowait(result)

    try:
        async with asyncio.timeout(budget_s + _DECIDE_S):
            # It asks itself.
            frames = await Dialer(replica.node).connect(replica, receive)
            try:
                await frames.write(examine_service_pb2.ExamineRequest(tasks=[task]).SerializeToString())
                # Every actor answers for itself, and at the end of the budget the host for it.
                results = [await answers.get() for _ in replica.actors]
            finally:
                frames.close()
    except TimeoutError:
        return "" if at_work() else f"examined no message within {budget_s:g} s"
    except OSError as error:
        return f"unreachable: {error.strerror}"
    return "; ".join(f"{f.actor} {f.detail}" for result in results for f in result.findings if _is_broken(f))


async def probe_ingress(hall: Hall, table: Table, budget_s: float) -> str:
    """Have the ingress judge the message; what is wrong, one line, empty when nothing is."""
    answered: asyncio.Future[filter_service_pb2.Answer] = asyncio.get_running_loop().create_future()

    def send(answer: filter_service_pb2.Answer, _size_bytes: int) -> bool:
        if answer.WhichOneof("kind") in ("verdict", "refused") and not answered.done():
            answered.set_result(answer)
        return True

    session = Session(hall, send)
    try:
        async with asyncio.timeout(budget_s + _DECIDE_S):
            # As if it were a copy already, so that no mirror gets it.
            session.receive(whole_message(message_pb2.Envelope(), _HEADER, _BODY, budget_s, mirrored=True))
            answer = await answered
    except TimeoutError:
        return f"no verdict within {budget_s:g} s"
    finally:
        session.close()
    if answer.HasField("refused"):
        reason = answer.refused.reason
        return "" if reason in _FULL else f"refused: {answer.refused.detail}"
    served = {actor for replica in table.replicas if not replica.draining for actor in replica.actors}
    # Of the actor itself: what an actor cannot reach, clamd or Redis, is as far from every other ingress.
    unreached = {f.actor for f in answer.verdict.findings if f.name == f.actor and _is(f, ErrorKind.UNREACHABLE)}
    cut_off = sorted(unreached & served)
    return f"does not reach {', '.join(cut_off)}" if cut_off else ""


def _is_broken(finding: verdict_pb2.Finding) -> bool:
    return _is(finding, ErrorKind.CRASH) or _is(finding, ErrorKind.MALFORMED)


def _is(finding: verdict_pb2.Finding, kind: ErrorKind) -> bool:
    return finding.outcome == Outcome.ERROR.value and finding.detail.startswith(kind.value)
