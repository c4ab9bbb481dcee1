"""Mirroring: a share of the live mail goes to another cell as well, and the report says where the verdicts differ.

    session ─ verdict has left ─► copies.py ─ events ─► stream.py ─ Filter stream ─► the other cell
                                      │ ◄── verdict ──────┘
                                      └─ difference.py ─► line ─► report_file.py ─► `tamis mirror report` (summary.py)

`difference.py`, `summary.py` and `copies.py` are pure; `stream.py` alone calls gRPC, `report_file.py` alone writes.
Nothing here may touch a live verdict: copies are bounded, late ones are given up, and what cannot be taken is dropped
and counted.
"""
