"""ARC chains (RFC 8617 section 5.2): the shape of the sets, then the newest message signature and all seals.

Two steps with the key lookups between them: `read_chain` (pure) gives a Chain or the reason why there can be none,
`verify_chain` (pure) judges it with the keys.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from actors.dkim.canonical import Field, FieldsByName, relaxed_field
from actors.dkim.dkimpy import signature_holds
from actors.dkim.key import PublicKey
from actors.dkim.signature import (
    Signature,
    SignatureError,
    field_tags,
    parse_arc_message_signature,
    parse_arc_seal,
)
from actors.dkim.verify import Evidence, Verified, key_problem, verify
from actors.model import Outcome

RESULTS, MESSAGE_SIGNATURE, SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"
"""In the order in which a seal signs them (RFC 8617 section 5.1.1)."""

_NAMES = (RESULTS, MESSAGE_SIGNATURE, SEAL)
SETS_MAX = 50
"""RFC 8617 section 4.2.1."""
CHAIN_BYTES_MAX = 256 * 1024
"""Of all fields of a chain: each seal signs all older sets, so the work grows with the square. 50 honest sets have
half as much."""
_INSTANCE = re.compile(rb"(?:\A|;)\s*+i\s*+=\s*+0*+([1-9][0-9]?)\s*+(?=;|\Z)")


class ChainError(Exception):
    """The chain fails whatever the keys say; the text is the reason."""


@dataclass(frozen=True, slots=True)
class _Seal:
    fields: tuple[Field, Field, Field]
    """The set in the order of its names."""
    signature: Signature


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of the right shape, oldest set first."""

    seals: tuple[_Seal, ...]
    newest: Signature
    """The ARC-Message-Signature of the last set, the only one that still has to hold."""

    @property
    def key_names(self) -> set[str]:
        """Every key that has to be looked up."""
        return {self.newest.key_name, *(seal.signature.key_name for seal in self.seals)}

    @property
    def sealer(self) -> str:
        """Domain of the last one who sealed."""
        return self.seals[-1].signature.domain


def read_chain(fields: FieldsByName) -> Chain | None:
    """The chain of a message, None when it has no ARC field. Raises ChainError."""
    if sum(len(value) for name in _NAMES for _, value in fields.get(name, ())) > CHAIN_BYTES_MAX:
        raise ChainError("the chain is too long")
    sets: dict[int, dict[bytes, Field]] = {}
    for name in _NAMES:
        for field in fields.get(name, ()):
            arc_set = sets.setdefault(instance_of(field), {})
            if name in arc_set:
                raise ChainError(f"two {name.decode()} in one set")
            arc_set[name] = field
    if not sets:
        return None
    if sorted(sets) != list(range(1, len(sets) + 1)) or len(sets) > SETS_MAX:
        raise ChainError("instances are not 1 to at most 50 without gap")
    seals = tuple(_read_seal(instance, sets[instance]) for instance in range(1, len(sets) + 1))
    try:
        newest = parse_arc_message_signature(field_tags(seals[-1].fields[1][1]))
    except SignatureError as error:
        raise ChainError(f"newest ARC-Message-Signature: {error}") from error
    return Chain(seals, newest)


def verify_chain(chain: Chain, keys: Mapping[str, PublicKey], evidence: Evidence) -> Verified:
    """RFC 8617 section 5.2 steps 4 to 6, with the key of every name in `chain.key_names`."""
    message = verify(chain.newest, keys[chain.newest.key_name], chain.seals[-1].fields[1], evidence)
    if message.outcome is not Outcome.PASS:
        return Verified(Outcome.FAIL, f"newest ARC-Message-Signature: {message.reason}")
    signed: list[Field] = []
    for instance, seal in enumerate(chain.seals, start=1):
        results, message_signature, own_seal = (relaxed_field(field) for field in seal.fields)
        signed += [results, message_signature]
        signature, key = seal.signature, keys[seal.signature.key_name]
        problem = key_problem(signature, key, evidence.config)
        if problem is not None:
            return Verified(Outcome.FAIL, f"ARC-Seal {instance}: {problem.reason}")
        if not signature_holds(signed, own_seal, signature.signature, key.key_type, key.public):
            return Verified(Outcome.FAIL, f"ARC-Seal {instance} does not hold")
        signed.append(own_seal)
    return Verified(Outcome.PASS, f"{len(chain.seals)} sets verified")


def instance_of(field: Field) -> int:
    """The i= of an ARC field: the first tag of the results (RFC 8617 section 4.1.1), anywhere in the others."""
    name, value = field
    match = _INSTANCE.match(value) if name.lower() == RESULTS else _INSTANCE.search(value)
    if match is None:
        raise ChainError(f"{name.decode('ascii', 'replace')} without instance")
    return int(match[1])


def _read_seal(instance: int, arc_set: Mapping[bytes, Field]) -> _Seal:
    """Check one set: complete, and its cv= is what its place in the chain demands (RFC 8617 section 5.2 step 3)."""
    if len(arc_set) != len(_NAMES):
        raise ChainError(f"set {instance} is incomplete")
    try:
        tags = field_tags(arc_set[SEAL][1])
        validation = tags.get(b"cv", b"").lower()
        if validation == b"fail":
            raise ChainError(f"ARC-Seal {instance} says that the chain has failed")
        if validation != (b"none" if instance == 1 else b"pass"):
            raise ChainError(f"ARC-Seal {instance} has a cv= that its place does not allow")
        signature = parse_arc_seal(tags)
    except SignatureError as error:
        raise ChainError(f"ARC-Seal {instance}: {error}") from error
    return _Seal((arc_set[RESULTS], arc_set[MESSAGE_SIGNATURE], arc_set[SEAL]), signature)
