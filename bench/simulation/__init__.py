"""A discrete-event model of a cell: what it can do at sizes that nobody has built, checked where it can be measured.

::

    record ──► figures (fit.json) ──► fit ──► predict ──► page (docs/capacity.md)
    a whole Tamis,                     │        │
    its spans and CPU                  cell: front (gateways, ingresses) · scoring (replicas)
                                       model: clock, cores, processes, frames

`record` and `choices` measure; all else is pure. The product's dispatcher, balance, frames and layout take part as
they are.
"""
