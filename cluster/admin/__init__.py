"""The admin service: what operators and the console may see and ask of a cell.

control.py    the values, and the Protocol between the service and whoever runs the cell (pure)
access.py     tokens, roles and the bound on wrong tokens
admission.py  who may make a call
nodes.py      which node an operator means (pure)
reload.py     what a new configuration file changes (pure)
codec.py      values into protobuf (pure)
service.py    the gRPC servicer and its server
"""
