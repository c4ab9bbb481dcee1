"""Span records out by OTLP/gRPC, in the background, through the OpenTelemetry SDK.

The SDK's own tracer is not used on the hot path (64 us a span); records become read-only SDK spans here, and its
batch processor does queueing, retries and dropping under pressure.
"""

from collections.abc import Iterable

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from wire.trace import SpanRecord, TraceConfig

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("tamis")


class SpanExport:
    """Sends span records of one process to the receiver of the config."""

    def __init__(self, config: TraceConfig, service: str, instance: str) -> None:
        self._resource = Resource({"service.name": service, "service.instance.id": instance})
        self._processor: BatchSpanProcessor | None = None
        if config.otlp_endpoint:
            # A collector beside us takes plaintext on loopback; TLS endpoints are written https://host:port.
            insecure = not config.otlp_endpoint.startswith("https://")
            exporter = OTLPSpanExporter(endpoint=config.otlp_endpoint, insecure=insecure)
            self._processor = BatchSpanProcessor(exporter, schedule_delay_millis=1000)

    @property
    def enabled(self) -> bool:
        """False when no receiver is configured: then nobody needs to make records."""
        return self._processor is not None

    def send(self, records: Iterable[SpanRecord]) -> None:
        """Queue records for export; never blocks and drops when the receiver is too far behind."""
        if self._processor is None:
            return
        for record in records:
            self._processor.on_end(self._span(record))

    def close(self) -> None:
        """Flush what is queued (a few seconds at most) and stop the background thread."""
        if self._processor is not None:
            self._processor.force_flush(2000)
            self._processor.shutdown()  # type: ignore[no-untyped-call]

    def _span(self, record: SpanRecord) -> ReadableSpan:
        def context(span_id: int) -> SpanContext:
            return SpanContext(record.trace_id, span_id, is_remote=False, trace_flags=_SAMPLED)

        return ReadableSpan(
            name=record.name,
            context=context(record.span_id),
            parent=context(record.parent_span_id) if record.parent_span_id else None,
            resource=self._resource,
            attributes=dict(record.attributes),
            kind=SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, record.error) if record.error else Status(StatusCode.OK),
            start_time=record.start_ns,
            end_time=record.end_ns,
            instrumentation_scope=_SCOPE,
        )
