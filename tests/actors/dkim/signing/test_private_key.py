"""Keys in every form in which people keep them; what is no safe key is refused, and none is ever shown."""

import base64
import pickle
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric import rsa as rsa_keys
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from actors.dkim.key import parse_key
from actors.dkim.signing.private_key import (
    PrivateKeyError,
    generate_ed25519,
    generate_rsa,
    load_private_key,
)
from tests.signing import ed25519_key, ed25519_record, rsa_key, rsa_pem, rsa_record, rsa_with


def rsa(encoding: Encoding, form: PrivateFormat) -> bytes:
    return rsa_key(2048).private_bytes(encoding, form, NoEncryption())


def ed(encoding: Encoding) -> bytes:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(ed25519_key()))
    return key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    "text",
    [
        lambda: rsa(Encoding.PEM, PrivateFormat.TraditionalOpenSSL),
        lambda: b"Comment\n" + rsa(Encoding.PEM, PrivateFormat.PKCS8),
        lambda: rsa(Encoding.DER, PrivateFormat.PKCS8),
        lambda: base64.b64encode(rsa(Encoding.DER, PrivateFormat.TraditionalOpenSSL)),
        lambda: base64.encodebytes(rsa(Encoding.DER, PrivateFormat.PKCS8)),
    ],
    ids=["pkcs1", "pkcs8", "der", "base64-pkcs1", "base64-pkcs8"],
)
def test_an_rsa_key_is_read_in_every_form(text: Callable[[], bytes]) -> None:
    key = load_private_key(text())
    assert (key.key_type, key.bits, key.algorithm) == ("rsa", 2048, "rsa-sha256")
    assert key.matches(parse_key(rsa_record().encode()))


@pytest.mark.parametrize(
    "text",
    [
        lambda: ed(Encoding.PEM),
        lambda: ed(Encoding.DER),
        lambda: base64.b64encode(ed(Encoding.DER)),
        lambda: bytes(ed25519_key()),
        lambda: base64.b64encode(bytes(ed25519_key())) + b"\n",
    ],
    ids=["pkcs8", "der", "base64-pkcs8", "raw", "base64-raw"],
)
def test_an_ed25519_key_is_read_in_every_form(text: Callable[[], bytes]) -> None:
    key = load_private_key(text())
    assert (key.key_type, key.bits, key.algorithm) == ("ed25519", 256, "ed25519-sha256")
    assert key.matches(parse_key(ed25519_record().encode()))


def encrypted() -> bytes:
    return rsa_key(2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


def elliptic() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public() -> bytes:
    return rsa_key(2048).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (encrypted, "encrypted"),
        (elliptic, "neither RSA nor Ed25519"),
        (public, "cannot be read"),
        (lambda: b"", "cannot be read"),
        (lambda: b"A" * 31, "cannot be read"),
        (lambda: rsa_pem()[:500], "cannot be read"),
        (lambda: b"x" * 70_000, "too long"),
    ],
)
def test_what_is_no_usable_key_is_refused(text: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(PrivateKeyError, match=reason) as raised:
        load_private_key(text())
    assert raised.value.__cause__ is None


def numbers() -> rsa_keys.RSAPrivateNumbers:
    return rsa_key(2048).private_numbers()


@pytest.mark.parametrize(
    "text",
    [
        lambda: rsa_with(d=numbers().d + 2, dmp1=numbers().dmp1 + 2, dmq1=numbers().dmq1 + 2),
        lambda: rsa_with(n=numbers().public_numbers.n + 2),
        lambda: rsa_with(n=numbers().public_numbers.n + 1),
        lambda: rsa_with(e=numbers().public_numbers.e + 2),
        lambda: rsa_with(e=1),
        lambda: rsa_with(d=0, dmp1=0, dmq1=0),
        lambda: rsa_with(d=0, p=0, q=0, dmp1=0, dmq1=0, iqmp=0),
    ],
    ids=["exponents", "modulus", "even-modulus", "public-exponent", "e-is-1", "no-exponents", "zeros"],
)
def test_a_key_that_cannot_sign_is_refused(text: Callable[[], bytes]) -> None:
    with pytest.raises(PrivateKeyError, match=r"cannot be read|do not verify"):
        load_private_key(text())


def test_the_full_check_is_apart_from_loading() -> None:
    load_private_key(rsa_with()).validate()
    # Signatures are made without this number when it is wrong: OpenSSL verifies what it makes with it.
    wrong = load_private_key(rsa_with(iqmp=numbers().iqmp + 1))
    with pytest.raises(PrivateKeyError, match="not valid"):
        wrong.validate()


def test_the_least_size_is_the_callers() -> None:
    with pytest.raises(PrivateKeyError, match="2048 bits is too short"):
        load_private_key(rsa_pem(2048), bits_min=3072)


@pytest.mark.parametrize("make", [lambda: generate_rsa(2048), generate_ed25519], ids=["rsa", "ed25519"])
def test_a_new_key_is_read_again_and_is_never_shown(make: Callable[[], object]) -> None:
    key = make()
    again = load_private_key(key.pem())
    assert again.public_base64 == key.public_base64
    secret = b"".join(key.pem().splitlines()[1:-1])
    assert repr(key) == f"PrivateKey(key_type='{key.key_type}', bits={key.bits})"
    assert secret[-40:-2].decode() not in repr(key.__dict__)
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_rsa_keys_are_made_in_sizes_that_verifiers_take() -> None:
    with pytest.raises(PrivateKeyError, match="2048, 3072, 4096"):
        generate_rsa(1024)
