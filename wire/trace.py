"""W3C trace context, span records and the settings of tracing, as values.

Spans are made late and by hand (a recorded SDK span costs 64 us): every part returns timings, and whoever decides
that a transaction is worth a trace turns them into `SpanRecord`s for `wire/export.py`. Nothing here reads a clock
or a random source; ids are given in.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from wire.config import Section

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)
_TRACE_ID_BYTES = 16
_SPAN_ID_BYTES = 8


class TraceContext(msgspec.Struct, frozen=True, gc=False):
    """Which trace a span belongs to and which span is its parent (W3C Trace Context level 1)."""

    trace_id: int
    span_id: int
    sampled: bool

    def traceparent(self) -> str:
        """The header value, `00-<trace>-<span>-<flags>`."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


def parse_traceparent(value: str) -> TraceContext | None:
    """The context a peer sent, or None when it is not a valid version-00 traceparent."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return None
    trace_id, span_id = int(match[1], 16), int(match[2], 16)
    if not trace_id or not span_id:
        return None
    return TraceContext(trace_id, span_id, sampled=bool(int(match[3], 16) & 1))


def new_context(entropy: bytes, sample_ratio: float) -> TraceContext:
    """A new trace from 24 random bytes; sampled for a share of trace ids, so that every process agrees."""
    if len(entropy) != _TRACE_ID_BYTES + _SPAN_ID_BYTES:
        raise ValueError("entropy must be 24 bytes")
    trace_id = int.from_bytes(entropy[:_TRACE_ID_BYTES]) or 1
    span_id = int.from_bytes(entropy[_TRACE_ID_BYTES:]) or 1
    # The rule of OpenTelemetry's TraceIdRatioBased: the low 64 bits against the bound.
    sampled = (trace_id & 0xFFFF_FFFF_FFFF_FFFF) < round(sample_ratio * 2**64)
    return TraceContext(trace_id, span_id, sampled)


def derived_span_id(parent_span_id: int, ordinal: int) -> int:
    """A span id for the `ordinal`-th child of a span: unique enough within one trace, and free of randomness.

    A 64-bit odd-multiplier mix (splitmix64's finaliser) of the two numbers, never zero.
    """
    mixed = (parent_span_id + (ordinal + 1) * 0x9E37_79B9_7F4A_7C15) & 0xFFFF_FFFF_FFFF_FFFF
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58_476D_1CE4_E5B9) & 0xFFFF_FFFF_FFFF_FFFF
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D0_49BB_1331_11EB) & 0xFFFF_FFFF_FFFF_FFFF
    return (mixed ^ (mixed >> 31)) or 1


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One finished span: names, times and attributes, never message content."""

    name: str
    trace_id: int
    span_id: int
    parent_span_id: int
    """0 for a root span."""
    start_ns: int
    """Unix time in nanoseconds."""
    end_ns: int
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    error: str = ""
    """Why the span failed; empty when it did not."""


class TraceConfig(Section, frozen=True):
    """[trace]: where traces go and which messages get one."""

    otlp_endpoint: str = ""
    """host:port of an OTLP/gRPC receiver; empty = no traces."""
    sample_ratio: float = 0.01
    """Share of messages traced from the start, 0 to 1. Slow, degraded and failed ones are always traced."""
    slow_ms: int = 1000
    """A message that took longer is traced whole even when it was not sampled."""

    def __post_init__(self) -> None:
        host, _, port = self.otlp_endpoint.rpartition("://")[2].rstrip("/").rpartition(":")
        if self.otlp_endpoint and not (host and port.isascii() and port.isdigit()):
            raise ValueError("`otlp_endpoint` must be host:port")
        if not 0.0 <= self.sample_ratio <= 1.0:
            raise ValueError("`sample_ratio` must be between 0 and 1")
        if self.slow_ms < 1:
            raise ValueError("`slow_ms` must be at least 1")
