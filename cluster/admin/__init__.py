"""The admin service: what operators and the console may see and ask of a cell.

control.py  the values, and the Protocol between the service and whoever runs the cell (pure)
"""
