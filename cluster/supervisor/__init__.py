"""The supervisor: makes the processes of a cell what its configuration, its nodes and its load ask for.

    settings + nodes + load ──► placement.py ──► desired ─┐
                                                          ├─► reconcile.py ──► steps ──► supervisor.py
    keeper.py (one per process) ──► state.py: actual ─────┘                                   │
         ▲                                                                                    │
         └── ray_cluster.py: start, kill, nodes, what is remembered ◄─────────────────────────┘

Placement, reconcile, state and report are pure; keeper.py and supervisor.py know tasks and time but Ray only as a port;
ray_cluster.py is that port.
"""
