import base64
import pickle

import pytest

from actors.dkim.signing.private_key import PrivateKeyError
from actors.dkim.signing.sealed_key import KeyEncryptionKey, parse_key_encryption_key, unseal

RAW = bytes(range(32))
ONE, OTHER = KeyEncryptionKey(RAW), KeyEncryptionKey(RAW[::-1])


def test_a_key_opens_under_its_name_with_any_of_the_keys() -> None:
    sealed = ONE.seal("example.org/2026a", b"the key")
    assert b"the key" not in sealed
    assert unseal("example.org/2026a", sealed, [OTHER, ONE]) == b"the key"
    assert ONE.seal("example.org/2026a", b"the key") != sealed


@pytest.mark.parametrize("place", [0, 1, 12, 13, -1])
def test_a_key_that_was_touched_does_not_open(place: int) -> None:
    sealed = bytearray(ONE.seal("a", b"the key"))
    sealed[place] ^= 1
    with pytest.raises(PrivateKeyError, match="stored key"):
        unseal("a", bytes(sealed), [ONE])


@pytest.mark.parametrize("sealed", [b"", b"1", b"1short", b"-----BEGIN PRIVATE KEY-----"])
def test_what_is_no_sealed_key_is_told(sealed: bytes) -> None:
    with pytest.raises(PrivateKeyError, match="stored key"):
        unseal("a", sealed, [ONE])


def test_a_key_does_not_open_under_another_name_or_with_another_key() -> None:
    sealed = ONE.seal("a.example", b"the key")
    for name, keys in (("b.example", [ONE]), ("a.example", [OTHER]), ("a.example", [])):
        with pytest.raises(PrivateKeyError, match="another key, or under another name"):
            unseal(name, sealed, keys)


@pytest.mark.parametrize("text", [RAW, RAW.hex().encode() + b"\n", base64.b64encode(RAW) + b"\n"])
def test_a_key_encryption_key_has_three_forms(text: bytes) -> None:
    assert parse_key_encryption_key(text).unseal("a", ONE.seal("a", b"x")) == b"x"


@pytest.mark.parametrize("text", [b"", b"hush", b"z" * 64, b"\xfe" * 31, base64.b64encode(RAW[:16])])
def test_what_is_no_key_encryption_key_is_told_without_it(text: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes") as raised:
        parse_key_encryption_key(text)
    assert "hush" not in str(raised.value)


def test_a_key_encryption_key_is_not_shown_nor_pickled() -> None:
    assert RAW.hex() not in repr(ONE)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(ONE)
