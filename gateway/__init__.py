"""The sidecar: bytes of the MTA in, verdict applied.

    Postfix ── milter ──► server ► driver ► session (pure) ► transaction ► body (pure) ◄── spool (disk)
                             │         │
                             │         └──► judge ┬► link ► exchange (pure) ── gRPC ──► ingress
                             │                    └► replies (pure): verdict → checked milter replies
                             ├── handover ► snapshot (pure): sessions to the next process, by the service_manager
                             └── ops (/healthz /readyz /metrics), telemetry, logs

runtime builds the parts, and starts, reloads and stops them.

Imports wire and tamis (with grpc, opentelemetry, prometheus_client, msgspec, uvloop); never Ray, NumPy, Redis, actors
or cluster. Nobody but `cli` imports it. It keeps no state beyond the transactions in flight.
"""
