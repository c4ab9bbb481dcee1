"""The numbers of one gateway, in a registry of its own; /metrics serves it.

Counters with labels are bound once: a bound increment costs 2 us, a lookup by label 4 us.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from gateway.early import Stage
from gateway.failure_policy import OUTCOMES
from gateway.fallback import DECISIONS
from gateway.transaction import Failure
from tamis.filter.v1 import verdict_pb2

# A second series beside each counter that only says when the process started.
disable_created_metrics()  # type: ignore[no-untyped-call]

ACTIONS = {
    number: name.removeprefix("ACTION_").lower()
    for name, number in verdict_pb2.Action.items()
    if number != verdict_pb2.ACTION_UNSPECIFIED
}
"""Action number -> its word in metrics, logs and traces."""
OVERSIZE = "oversize"
"""The action of a message above what the gateway takes: refused here, without a verdict."""
EARLY_ACTIONS = ("accept", "tempfail", "reject", "late", "continue")
"""late = no answer in time; continue = nobody could be asked; after both the next stage judges."""
_LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)


class Metrics:
    """Prometheus metrics; the attribute names say what is counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sessions = Gauge("tamis_gateway_sessions", "Open milter connections", registry=self.registry)
        self.stress = Gauge(
            "tamis_gateway_stress",
            "1 while so many sessions are open that optional actors are skipped",
            registry=self.registry,
        )
        self.shed = Counter(
            "tamis_gateway_shed_sessions",
            "Sessions above the bound that got the overload policy",
            registry=self.registry,
        )
        self.ingresses = Gauge("tamis_gateway_ingresses", "Ingresses with a live stream", registry=self.registry)
        self.held_bytes = Gauge("tamis_gateway_held_bytes", "Mail held for replay", registry=self.registry)
        self.spool_bytes = Gauge("tamis_gateway_spool_bytes", "Mail on disk for replay", registry=self.registry)
        self.message_bytes = Counter(
            "tamis_gateway_message_bytes", "Bytes of mail that reached end of message", registry=self.registry
        )
        self.replays = Counter("tamis_gateway_replays", "Transactions told again to an ingress", registry=self.registry)
        self.ejections = Counter(
            "tamis_gateway_ejections", "Ingresses left alone for a while after failures", registry=self.registry
        )
        self.end_of_message_s = Histogram(
            "tamis_gateway_end_of_message_seconds",
            "From end of message to the reply",
            buckets=_LATENCY_S,
            registry=self.registry,
        )
        transactions = Counter(
            "tamis_gateway_transactions", "Messages by final action", ["action"], registry=self.registry
        )
        self.transactions = {action: transactions.labels(action) for action in (*ACTIONS.values(), OVERSIZE)}
        early = Counter(
            "tamis_gateway_early", "Answers before the end of the message", ["stage", "action"], registry=self.registry
        )
        self.early = {(stage, action): early.labels(stage, action) for stage in Stage for action in EARLY_ACTIONS}
        failures = Counter(
            "tamis_gateway_failures",
            "Questions without a verdict, by class and what became of them",
            ["failure", "action"],
            registry=self.registry,
        )
        self.failures = {
            (failure, action): failures.labels(failure, action) for failure in Failure for action in OUTCOMES
        }
        fallback = Counter(
            "tamis_gateway_fallback", "Questions that a local rule answered", ["rule"], registry=self.registry
        )
        self.fallback = {rule: fallback.labels(rule) for rule in DECISIONS}
        self.unfiltered = Counter(
            "tamis_gateway_unfiltered", "Messages accepted or quarantined without a verdict", registry=self.registry
        )
        reloads = Counter("tamis_gateway_reloads", "Config read again, by result", ["result"], registry=self.registry)
        self.reloads = {result: reloads.labels(result) for result in ("ok", "failed")}
        self._config = Gauge("tamis_gateway_config_info", "Version of the config", ["version"], registry=self.registry)
        self.closed = Counter(
            "tamis_gateway_closed", "Milter connections closed by us, by reason", ["reason"], registry=self.registry
        )

    def show_config(self, version: str) -> None:
        """The config that holds now."""
        self._config.clear()
        self._config.labels(version).set(1)
