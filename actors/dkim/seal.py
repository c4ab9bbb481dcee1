"""ARC sealing (RFC 8617 section 5.1): the set of three fields that goes on top of a message, or None where none may.

Pure: the message as it leaves, what our own validation said of its chain, and the results that we vouch for go in.
Signatures are relaxed, their tags in alphabetical order as the authors' suite has them, so that one message, one key
and one time give the same bytes everywhere.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from actors.dkim.arc import MESSAGE_SIGNATURE, RESULTS, SEAL, SETS_MAX, ChainError, instance_of
from actors.dkim.canonical import Field, FieldsByName, relaxed_field
from actors.dkim.signature import SignatureError, field_tags, signed_fields
from actors.dkim.signing.private_key import PrivateKey
from actors.dkim.verify import Evidence
from actors.model import Outcome

_WRITTEN = {
    RESULTS: b"ARC-Authentication-Results",
    MESSAGE_SIGNATURE: b"ARC-Message-Signature",
    SEAL: b"ARC-Seal",
}
_VALIDATIONS = (Outcome.NONE, Outcome.PASS, Outcome.FAIL)
"""What cv= can say (RFC 8617 section 4.1.3)."""
_NEVER_SIGNED = frozenset({SEAL, b"authentication-results"})
"""RFC 8617 section 4.1.2: the first must not be signed, the second is removed on the way."""
_LINE_CHARS = 72
_NO_FIELD: Field = (b"", b"")


@dataclass(frozen=True, slots=True)
class Sealer:
    """Who seals, by which key, and which fields its message signature signs."""

    domain: str
    selector: str
    private: PrivateKey = field(repr=False)
    signed_names: tuple[bytes, ...]
    """h= as written, lower case; a name more often than the message has it forbids that one is added.

    Raises ValueError for names that an ARC-Message-Signature must not sign, and for a key that is not RSA.
    """

    def __post_init__(self) -> None:
        if self.private.key_type != "rsa":
            raise ValueError("RFC 8617 knows no seal but by an RSA key")
        wrong = _NEVER_SIGNED.intersection(self.signed_names)
        if wrong or b"from" not in self.signed_names:
            raise ValueError("an ARC-Message-Signature signs From, and neither ARC-Seal nor Authentication-Results")


def seal(leaving: Evidence, validation: Outcome, results: bytes, sealer: Sealer) -> tuple[Field, Field, Field] | None:
    """The fields to insert at the top, ARC-Seal first; None for a message that must not be sealed again.

    `leaving` is the message as it leaves, with the time of the seal. `validation` is the outcome of our own validation
    of its chain (none, pass, fail); while DNS leaves that open nothing can be said, and there is no seal. `results` is
    the body of our Authentication-Results (RFC 8601 section 2.2). Not sealed: what an earlier seal has declared
    broken, what has 50 sets (RFC 8617 sections 5.1, 4.2.1), and a chain that lost fields since it was found to hold.
    """
    sets = _sets(leaving.fields)
    instance = max(sets, default=0) + 1
    if validation not in _VALIDATIONS or instance > SETS_MAX or _has_failed(sets.get(instance - 1, {})):
        return None
    if validation is not Outcome.FAIL and not _is_whole(sets):
        return None
    common = {
        b"a": b"rsa-sha256",
        b"d": sealer.domain.encode("ascii"),
        b"s": sealer.selector.encode("ascii"),
        b"i": b"%d" % instance,
        b"t": b"%d" % int(leaving.now_s),
    }
    stated: Field = (_WRITTEN[RESULTS], b" i=%d; %b" % (instance, results))
    body_hash = base64.b64encode(leaving.body.sha256(relaxed=True))
    names = b":".join(sealer.signed_names)
    signed = signed_fields(leaving.fields, sealer.signed_names, _NO_FIELD)
    signature = _signature(
        MESSAGE_SIGNATURE, common | {b"c": b"relaxed/relaxed", b"bh": body_hash, b"h": names}, signed, sealer
    )
    # RFC 8617 section 5.1.2: the seal of a broken chain covers its own set only.
    older = [] if validation is Outcome.FAIL else [sets[number][name] for number in sorted(sets) for name in _WRITTEN]
    own_seal = _signature(SEAL, common | {b"cv": validation.encode()}, [*older, stated, signature], sealer)
    return own_seal, signature, stated


def _sets(fields: FieldsByName) -> dict[int, dict[bytes, Field]]:
    """The ARC fields by instance, however broken the chain; a field that tells no instance belongs to none."""
    sets: dict[int, dict[bytes, Field]] = {}
    for name in _WRITTEN:
        for one in fields.get(name, ()):
            try:
                sets.setdefault(instance_of(one), {})[name] = one
            except ChainError:
                continue
    return sets


def _is_whole(sets: Mapping[int, Mapping[bytes, Field]]) -> bool:
    """Whether every set from the first to the last has its three fields."""
    return all(len(sets.get(number, ())) == len(_WRITTEN) for number in range(1, len(sets) + 1))


def _has_failed(newest: Mapping[bytes, Field]) -> bool:
    """Whether the newest seal says cv=fail."""
    try:
        return SEAL in newest and field_tags(newest[SEAL][1]).get(b"cv", b"").lower() == b"fail"
    except SignatureError:
        return False


def _signature(name: bytes, tags: Mapping[bytes, bytes], signed: Sequence[Field], sealer: Sealer) -> Field:
    """The field of this name that signs those, and itself without its b= (RFC 6376 section 3.7)."""
    unsigned = (_WRITTEN[name], _folded({**tags, b"b": b""}))
    hashed = b"\r\n".join(b"%b:%b" % relaxed_field(one) for one in (*signed, unsigned))
    written = base64.b64encode(sealer.private.sign(hashlib.sha256(hashed).digest()))
    return _WRITTEN[name], _folded({**tags, b"b": written})


def _folded(tags: Mapping[bytes, bytes]) -> bytes:
    """The tags in alphabetical order, folded between them only.

    White space inside b= would be hashed by the seal, and the authors' suite has none; 4,096 bits make 690 characters,
    and a line may have 998.
    """
    lines, line = [], b""
    for tag, value in sorted(tags.items()):
        word = b" %b=%b;" % (tag, value)
        if line and len(line) + len(word) > _LINE_CHARS:
            lines.append(line)
            line = b""
        line += word
    return b"\r\n".join([*lines, line]).removesuffix(b";")
