"""Protocols as pure code, shared by gateway and cluster: no sockets, no clocks, no third party but msgspec.

milter/    the milter protocol, both sides (codec, limits, state tables)
stream.py  framing, adaptive writer and credit of the multiplexed gRPC streams
trace.py   W3C trace context and span records
config.py  one TOML file into typed, frozen settings; errors name the line
export.py  span records out by OTLP (the one module here that talks to the network, see docs/decisions/0002)
"""
