"""The machine: a Ray cluster that scores mail under a deadline. The only folder that imports ray.

::

    gateway ── FilterService ──► ingress actor                                   supervisor actor
                                   ingress/   service → session → transaction      │ starts, watches and replaces
                                   dispatch   one stream per replica, budgets      │ actors; pushes the replica table
                                     │ Examine streams                             ▼
                                     ▼
                                 host actor (one per replica) ── runs one actors.Actor

Pure, without Ray and sockets: config, codec, table, errand, dispatch, seating, telemetry, bodies, ingress/transaction
and ingress/session. Shell over plain connections: frame_stream, replica_stream (client of a host), host (its server);
over gRPC: ingress/service. With Ray: pool (where ray.remote meets a class), object_store, supervisor, node. May import
everything of ours but gateway, cli and console; only cli starts it.
"""
