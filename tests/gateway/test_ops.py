import pytest

from gateway.metrics import Metrics
from gateway.ops import respond


@pytest.mark.parametrize(
    ("line", "ready", "status"),
    [
        (b"GET /healthz HTTP/1.1", "no ingress", "200 OK"),
        (b"GET /readyz HTTP/1.1", "", "200 OK"),
        (b"GET /readyz?verbose HTTP/1.0", "", "200 OK"),
        (b"GET /readyz HTTP/1.1", "draining", "503 Service Unavailable"),
        (b"GET /metrics HTTP/1.1", "", "200 OK"),
        (b"HEAD /healthz HTTP/1.1", "", "200 OK"),
        (b"GET /nothing HTTP/1.1", "", "404 Not Found"),
        (b"POST /healthz HTTP/1.1", "", "405 Method Not Allowed"),
        (b"\xff\0 garbage", "", "400 Bad Request"),
        (b"", "", "400 Bad Request"),
    ],
)
def test_every_request_line_has_its_status(line: bytes, ready: str, status: str) -> None:
    assert respond(line, ready=ready, metrics=Metrics())[0] == status


def test_metrics_name_what_is_counted() -> None:
    metrics = Metrics()
    metrics.transactions["reject"].inc()
    _, kind, body = respond(b"GET /metrics HTTP/1.1", ready="", metrics=metrics)
    assert kind.startswith("text/plain")
    assert b'tamis_gateway_transactions_total{action="reject"} 1.0' in body
    assert b"tamis_gateway_end_of_message_seconds_bucket" in body


def test_why_the_gateway_is_not_ready_is_told() -> None:
    assert respond(b"GET /readyz HTTP/1.1", ready="no ingress", metrics=Metrics())[2] == b"no ingress\n"
