"""The machine: a Ray cluster that scores mail under a deadline. The only folder that imports ray.

::

    gateway ── FilterService ──► ingress actor                                   supervisor actor
                                   ingress/   service → session → transaction      │ starts, watches and replaces
                                   dispatch   one stream per replica, budgets      │ actors; pushes the replica table
                                     │ ExamineService                              ▼
                                     ▼
                                 host actor (one per replica) ── runs one actors.Actor

Pure, without Ray and gRPC: codec, config, dispatch, table, telemetry, ingress/transaction, ingress/session.
Shell: replica_stream (client of a host), host (its server), ingress/service, and, with Ray, bodies, pool, supervisor,
node. May import everything of ours but gateway, cli and console; only cli starts it.
"""
