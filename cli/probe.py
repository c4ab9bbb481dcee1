"""Whether every actor of the cell answers: a probe message, asked for again until it is judged.

Strategy: one short step at a time, so that whoever asks can look after its children in between. An actor that answers
but says `unreachable` works as well as it can: clamd or Redis away is for the operator, and the settings say what it
means for mail.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from actors.model import ErrorKind, Finding, Outcome
from cli.channel import channel_credentials, open_channel
from wire.tls import TlsConfig


class Answer(Protocol):
    """A question under way."""

    def findings(self, timeout_s: float) -> Sequence[Finding]:
        """What the actors found. Raises TimeoutError when it is not there yet, ProbeFailed when it never will be."""


class ProbeFailed(Exception):
    """There is no verdict; the text is one line."""


class Probe:
    """Asks until every actor answers, and says once what is in the way."""

    def __init__(self, ask: Callable[[], Answer], say: Callable[[str], None]) -> None:
        self._ask = ask
        self._say = say
        self._answer: Answer | None = None
        self._told = ""

    def step(self, patience_s: float) -> bool:
        """Wait at most this long; True once every actor has answered."""
        if self._answer is None:
            self._answer = self._ask()
        missing: tuple[str, ...]
        alone: tuple[str, ...] = ()
        try:
            findings = self._answer.findings(patience_s)
        except TimeoutError:
            return False
        except ProbeFailed as error:
            missing = (str(error),)
        else:
            missing, alone = _errors(findings)
        self._answer = None
        if not missing:
            if alone:
                self._say(f"ready as far as it can be, a probe message says: {'; '.join(alone)}")
            return True
        if self._told != (text := "; ".join(missing)):
            self._told = text
            self._say(f"not ready yet, a probe message says: {text}")
        return False


def _errors(findings: Sequence[Finding]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Errors of actors that did not answer, and those of actors that did but miss a service."""
    missing: list[str] = []
    alone: list[str] = []
    for finding in findings:
        if finding.outcome is Outcome.ERROR:
            # What the ingress says in place of an actor carries the actor's own name.
            answered = finding.name != finding.actor and finding.detail.startswith(ErrorKind.UNREACHABLE)
            (alone if answered else missing).append(f"{finding.actor}: {finding.detail}")
    return tuple(missing), tuple(alone)


def scan_asker(ingress: str, tls: TlsConfig, timeout_s: float) -> Callable[[], Answer]:
    """Asks the ingress at host:port by gRPC; the channel lives as long as the process. Raises ConfigError."""
    import grpc

    from cluster.codec import verdict_from_proto
    from tamis.filter.v1 import message_pb2
    from tamis.filter.v1.filter_service_pb2 import ScanRequest
    from tamis.filter.v1.filter_service_pb2_grpc import FilterServiceStub

    stub = FilterServiceStub(open_channel(grpc, ingress, channel_credentials(ingress, tls)))
    request = ScanRequest(message=message_pb2.Message(header_block=b"Subject: probe\r\n", body=b"probe\r\n"))

    class Call:
        def __init__(self) -> None:
            self._future = stub.Scan.future(request, timeout=timeout_s)

        def findings(self, timeout_s: float) -> Sequence[Finding]:
            try:
                return verdict_from_proto(self._future.result(timeout=timeout_s).verdict).findings
            except grpc.FutureTimeoutError:
                raise TimeoutError from None
            except grpc.RpcError as error:
                raise ProbeFailed(f"{ingress}: {error}".splitlines()[0]) from error

    return Call
