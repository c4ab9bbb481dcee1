"""Which replica takes a task: pure rules of the dispatcher.

Strategy: the lighter of two random replicas, those of the same node first. Suspects, which were there when a stream
broke, travel alone or in the company of others that are under the same suspicion for the first time.
"""

import random

from cluster.errand import Errand, Pool, Seat
from cluster.table import Replica

ALONE_FIRST = 8
"""So many suspects a replica gets one at a time."""
COMPANY_MAX = 32
"""Suspects on a replica at once, and so the most innocent ones that a killer takes along; they travel alone then."""


def open_seats(pool: Pool) -> list[Seat]:
    """The seats of a pool that can be asked now; silent ones only when there is no other."""
    seats = [seat for seat in pool.seats if seat.ready and not seat.replica.draining]
    return [seat for seat in seats if not seat.silent] or seats


def takes(seat: Seat, breaks: int) -> bool:
    """Whether a seat takes an errand that was there at so many breaks, as far as the company goes."""
    if not breaks or not seat.suspects:
        return True
    return breaks == seat.suspects[0].breaks == 1 and len(seat.suspects) < _company(seat.proven)


def alone(seat: Seat) -> Errand | None:
    """The only suspect on a seat."""
    return seat.suspects[0] if len(seat.suspects) == 1 else None


def _company(proven: int) -> int:
    """How many suspects a replica may have at once that has answered so many."""
    return 1 if proven < ALONE_FIRST else min(COMPANY_MAX, proven // (ALONE_FIRST // 2))


def choose(seats: list[Seat], sticky: str, node: str) -> Seat | None:
    """The transaction's own seat if it is there, else the lighter of two random ones, same node first."""
    if len(seats) < 2:
        return seats[0] if seats else None
    for seat in seats:
        if seat.replica.name == sticky:
            return seat
    near = [seat for seat in seats if seat.replica.node == node] or seats
    if len(near) == 1:
        return near[0]
    first, second = random.sample(near, 2)
    return first if first.outstanding_bytes <= second.outstanding_bytes else second


def same_process(replica: Replica, other: Replica | None) -> bool:
    """Whether two tables mean the same process by this name."""
    return other is not None and (replica.address, replica.actors) == (other.address, other.actors)
