"""The world behind actors/ports.py: DNS, zone files, Redis, clamd. Each adapter is one module with one class."""
