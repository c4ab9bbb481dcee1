"""Key records: what is a key and what is not."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from actors.dkim.key import KeyRecordError, first_usable_key, parse_key
from tests.signing import ed25519_record, rsa_key, rsa_record

RSA_P = rsa_record().partition("p=")[2]
EC_DER = (
    ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
)


def test_both_kinds_of_keys_are_read_with_their_size() -> None:
    rsa, ed25519 = parse_key(rsa_record().encode()), parse_key(ed25519_record().encode())

    assert (rsa.key_type, rsa.bits) == (b"rsa", 2048)
    assert rsa.public.public_numbers() == rsa_key(2048).public_key().public_numbers()
    assert (ed25519.key_type, ed25519.bits) == (b"ed25519", 256)


def test_rsa_is_the_default_and_the_bare_rsa_public_key_is_read_too() -> None:
    bare = rsa_key(2048).public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)

    assert parse_key(b"p=" + RSA_P.encode()).bits == 2048
    assert parse_key(b"p=" + base64.b64encode(bare)).bits == 2048


def test_white_space_inside_the_key_does_not_matter() -> None:
    assert parse_key(f"v=DKIM1; p={RSA_P[:50]} {RSA_P[50:90]}\t{RSA_P[90:]};".encode()).bits == 2048


def test_flags_say_what_the_key_is_for() -> None:
    key = parse_key(f"v=DKIM1; h=sha1:sha256; t=y:s; s=email; p={RSA_P}".encode())
    assert key.sha256_allowed
    assert key.identity_is_domain
    assert not parse_key(f"h=sha1; p={RSA_P}".encode()).sha256_allowed


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"", "no p="),
        (b"v=DKIM1; k=rsa", "no p="),
        (b"v=DKIM1; p=", "revoked"),
        (b"v=DKIM2; p=AAAA", "version"),
        (b"v=spf1 -all", "version"),
        (b"\xff\x00", "tag list"),
        (b"p=AAAA; p=AAAA", "tag list"),
        (b"p=A", "base64"),
        (b"p=!!!!", "base64"),
        (b"p=AAAA", "cannot be read"),
        (b"p=" + base64.b64encode(EC_DER), "unknown type"),
        (b"k=dsa; p=AAAA", "unknown type"),
        (b"k=ed25519; p=AAAA", "cannot be read"),
        (f"s=tlsrpt; p={RSA_P}".encode(), "not for email"),
        (b"p=" + b"A" * 8192, "too long"),
    ],
)
def test_what_is_no_key_says_why(record: bytes, reason: str) -> None:
    with pytest.raises(KeyRecordError, match=reason):
        parse_key(record)


def test_the_first_usable_record_of_a_few_wins() -> None:
    good = rsa_record().encode()

    assert first_usable_key([b"v=spf1 -all", good]).bits == 2048
    with pytest.raises(KeyRecordError, match="version"):
        first_usable_key([b"v=spf1 -all"] * 4 + [good])
    with pytest.raises(KeyRecordError, match="no key record"):
        first_usable_key([])


def test_a_key_whose_use_would_cost_as_much_as_signing_is_refused() -> None:
    numbers = RSAPublicNumbers(2**3000 + 1, 2**3072 - 2**1536 - 1)
    der = numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(KeyRecordError, match="exponent"):
        parse_key(b"p=" + base64.b64encode(der))


@pytest.mark.parametrize("bits", [4097, 8192, 16_384])
def test_a_key_that_is_longer_than_verifiers_must_read_is_refused(bits: int) -> None:
    der = RSAPublicNumbers(65537, 2**bits - 2 ** (bits // 2) - 1).public_key()
    record = base64.b64encode(der.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(KeyRecordError, match=f"key of {bits} bits is too long"):
        parse_key(b"p=" + record)


def test_a_key_of_4096_bits_is_read() -> None:
    der = RSAPublicNumbers(65537, 2**4096 - 2**2048 - 1).public_key()
    record = base64.b64encode(der.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert parse_key(b"n=" + b"x" * 2000 + b"; p=" + record).bits == 4096
