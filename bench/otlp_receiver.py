"""An OTLP/gRPC trace receiver on loopback that keeps what it got, for the demo and the tests."""

from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

SPANS_MAX = 200_000
ACTOR_SPANS = frozenset({"actor.dkim", "actor.policy", "actor.classifier", "actor.antivirus"})


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """One span as it came over the wire."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_span_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]


class OtlpReceiver(TraceServiceServicer):
    """Collects spans; `spans` holds them in order of arrival."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self._server: grpc.aio.Server | None = None

    async def start(self) -> str:
        """Listen on a free loopback port; returns host:port."""
        self._server = grpc.aio.server()
        add_TraceServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"127.0.0.1:{port}"

    async def stop(self) -> None:
        """Close the server at once."""
        if self._server is not None:
            await self._server.stop(None)

    async def Export(  # noqa: N802  the name in the service
        self, request: ExportTraceServiceRequest, _context: grpc.aio.ServicerContext
    ) -> ExportTraceServiceResponse:
        """Keep the spans of one export call."""
        for resource in request.resource_spans:
            about = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_received(about.get("service.name", ""), span) for span in scope.spans]
        del self.spans[SPANS_MAX:]
        return ExportTraceServiceResponse()

    def traces(self) -> dict[str, list[ReceivedSpan]]:
        """Spans by trace id."""
        by_trace: dict[str, list[ReceivedSpan]] = {}
        for span in self.spans:
            by_trace.setdefault(span.trace_id, []).append(span)
        return by_trace

    def whole_trace(self, queue_id: str) -> list[ReceivedSpan] | None:
        """The trace of the message with this queue id, once gateway and ingress have both exported."""
        for spans in self.traces().values():
            names = {span.name for span in spans}
            mine = any(span.attributes.get("mail.queue_id") == queue_id for span in spans)
            if mine and names >= ACTOR_SPANS | {"milter.transaction", "filter.transaction"}:
                return spans
        return None


def _received(service: str, span: Any) -> ReceivedSpan:
    attributes = {
        item.key: getattr(item.value, item.value.WhichOneof("value") or "string_value") for item in span.attributes
    }
    return ReceivedSpan(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        attributes,
    )


def span_tree(spans: list[ReceivedSpan]) -> list[str]:
    """The spans of one trace as an indented tree with start offset and duration in milliseconds."""
    first_ns = min(span.start_ns for span in spans)
    ids = {span.span_id for span in spans}
    lines: list[str] = []

    def walk(parent: str, depth: int) -> None:
        children = [span for span in spans if (span.parent_span_id if span.parent_span_id in ids else "") == parent]
        for span in sorted(children, key=lambda child: child.start_ns):
            start_ms, took_ms = (span.start_ns - first_ns) / 1e6, (span.end_ns - span.start_ns) / 1e6
            lines.append(
                f"{'  ' * depth}{span.name:<{36 - 2 * depth}} {start_ms:>8.2f} ms  +{took_ms:>8.2f} ms  {span.service}"
            )
            walk(span.span_id, depth + 1)

    walk("", 0)
    return lines
