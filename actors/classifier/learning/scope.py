"""Which layers weigh in for a message, by its recipients. Pure.

A message to several tenants, or to several users, has one verdict: of what their layers say only that counts on which
all agree, so that no tenant and no user is judged by the taste of another.
"""

import math
from collections.abc import Iterable, Sequence

from actors.classifier.learning.layers import SHARED, Slots, tenant_layer, user_layer
from actors.classifier.learning.weights import Weights
from actors.model import Direction, Envelope

RECIPIENTS_MAX = 16
"""Tenants, or users, that are looked at; of more no layer weighs in."""

EVERYBODY, TENANT, USER = "learnt by all", "learnt by the tenant", "learnt by the user"

_CERTAIN = 30.0
"""Log-odds beyond which a probability says nothing more."""


def log_odds_of(probability: float) -> float:
    """The logarithm of the odds, within 30 either way."""
    if 0 < probability < 1:
        return max(-_CERTAIN, min(_CERTAIN, math.log(probability / (1 - probability))))
    return _CERTAIN if probability >= 1 else -_CERTAIN


def moved(probability: float, shift: float) -> float:
    """A probability whose log-odds are moved; the same one when by nothing."""
    if not shift:
        return probability
    return 1 / (1 + math.exp(-max(-_CERTAIN, min(_CERTAIN, log_odds_of(probability) + shift))))


def contributions(weights: Weights, slots: Slots, envelope: Envelope) -> tuple[tuple[str, float], ...]:
    """What the layers add to the log-odds, by name for people; what adds nothing is left out."""
    if not weights.layers:
        return ()
    found = (
        (EVERYBODY, weights.log_odds(SHARED, slots)),
        (TENANT, _agreed(weights, slots, _tenant_layers(envelope))),
        (USER, _agreed(weights, slots, _user_layers(envelope))),
    )
    return tuple((name, value) for name, value in found if value)


def _agreed(weights: Weights, slots: Slots, names: Sequence[str]) -> float:
    """The least that all of these layers say; 0.0 when they do not agree on the side."""
    if not names or len(names) > RECIPIENTS_MAX or not any(name in weights.layers for name in names):
        return 0.0
    values = [weights.log_odds(name, slots) for name in names]
    if min(values) > 0:
        return min(values)
    return max(values) if max(values) < 0 else 0.0


def _tenant_layers(envelope: Envelope) -> Sequence[str]:
    outbound = envelope.direction is Direction.OUTBOUND
    tenants = {envelope.tenant} if outbound else {recipient.tenant for recipient in envelope.recipients}
    # With the default tenant among them: its layer is everybody's, it has nothing more to say.
    return [] if "" in tenants else _fit(tenant_layer(tenant) for tenant in tenants)


def _user_layers(envelope: Envelope) -> Sequence[str]:
    if envelope.direction is Direction.OUTBOUND or len(envelope.recipients) > RECIPIENTS_MAX:
        return []
    return _fit(user_layer(recipient.tenant, recipient.address) for recipient in envelope.recipients)


def _fit(names: Iterable[str]) -> Sequence[str]:
    """All of them; none when one is no name that a layer could have."""
    try:
        return sorted(set(names))
    except ValueError:
        return []
