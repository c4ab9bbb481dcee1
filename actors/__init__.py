"""The judgement: plain classes and pure functions that turn a message into findings and findings into a verdict.

::

    Message ──► dkim · policy · classifier · antivirus (examine, in parallel) ──► findings ──► decide() ──► Verdict
                     │ ask the world through ports.py (Resolver, Store, Scanner, Clock)
                     └ adapters/ answers: DNS, zone file, Redis, clamd

Imports only `actors` and `wire`; no Ray, no gRPC, so everything here runs and is tested in one process.
"""
