"""What we sign, our own verifier and dkimpy verify; every signed name is covered once more than it is there."""

import importlib.util
import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

import nacl.signing
import pytest

from actors.config import DkimConfig
from actors.dkim.actor import DkimActor
from actors.dkim.canonical import BodyHashes
from actors.dkim.signature import field_tags
from actors.dkim.signing.options import SigningOptions
from actors.dkim.signing.private_key import PrivateKey, load_private_key
from actors.dkim.signing.sign import Signer, SigningError, sign
from actors.model import Message, Outcome, Stage
from tests.fakes import NOW_S, FakeClock, FakeResolver, budget
from tests.signing import BODY, HEADERS, ed25519_key, ed25519_record, message, rsa_pem, rsa_record, zone

RSA = "rsa", lambda: load_private_key(rsa_pem())
ED = "ed", lambda: load_private_key(bytes(ed25519_key()))
KEYS = pytest.mark.parametrize(("selector", "make_key"), [RSA, ED], ids=["rsa", "ed25519"])
DEFAULTS = SigningOptions()
PAIRS = list(itertools.product((False, True), repeat=2))


def signed(mail: Message, *signers: Signer, options: SigningOptions = DEFAULTS) -> Message:
    """The message with the signatures on top."""
    values = sign(mail.fields_by_name, BodyHashes(mail.body), signers, options, NOW_S)
    on_top = b"".join(b"DKIM-Signature:%b\r\n" % value for value in values)
    return message(on_top + mail.header_block, mail.body)


async def outcomes(mail: Message) -> list[Outcome]:
    actor = DkimActor(DkimConfig(), FakeResolver(zone()), FakeClock())
    return [finding.outcome for finding in await actor.examine(Stage.MESSAGE, mail, budget())]


@cache
def own_dkimpy() -> Any:
    """dkimpy as it comes: a copy, since actors/dkim/dkimpy.py changes the one that everybody has."""
    spec = importlib.util.find_spec("dkim")
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


def dkimpy_says(mail: Message) -> bool:
    def dnsfunc(name: bytes, timeout: float = 5) -> bytes:  # noqa: ARG001  what dkimpy calls it with
        return (rsa_record() if name.startswith(b"rsa.") else ed25519_record()).encode()

    return bool(own_dkimpy().DKIM(mail.raw).verify(dnsfunc=dnsfunc))


def signer(selector: str, key: PrivateKey, identity: str = "") -> Signer:
    return Signer("example.org", selector, key, identity)


@KEYS
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("body", [BODY, b"", b"no line end", b"\r\n\r\n", b" \t \r\nx\t\t y \r\n\r\n\r\n"])
async def test_two_verifiers_take_what_we_sign(
    selector: str, make_key: Callable[[], PrivateKey], pair: tuple[bool, bool], body: bytes
) -> None:
    options = SigningOptions(relaxed_header=pair[0], relaxed_body=pair[1])
    mail = signed(message(HEADERS, body), signer(selector, make_key()), options=options)
    assert await outcomes(mail) == [Outcome.PASS]
    assert dkimpy_says(mail)


@KEYS
async def test_every_change_breaks_the_signature(selector: str, make_key: Callable[[], PrivateKey]) -> None:
    mail = signed(message(HEADERS), signer(selector, make_key()))
    assert await outcomes(mail) == [Outcome.PASS]
    for more in (b"From: Eve <eve@example.org>\r\n", b"Subject: other\r\n", b"Cc: eve@example.org\r\n"):
        assert await outcomes(message(more + mail.header_block, mail.body)) == [Outcome.FAIL]
        assert await outcomes(message(mail.header_block + more, mail.body)) == [Outcome.FAIL]
    assert await outcomes(message(mail.header_block.replace(b"Bob <", b"Rob <"), mail.body)) == [Outcome.FAIL]
    assert await outcomes(message(mail.header_block, mail.body + b"x\r\n")) == [Outcome.FAIL]


async def test_several_signatures_hold_independently_of_each_other() -> None:
    mail = signed(message(HEADERS), signer("rsa", RSA[1]()), signer("ed", ED[1]()))
    assert await outcomes(mail) == [Outcome.PASS, Outcome.PASS]
    _, second = mail.fields_by_name[b"dkim-signature"]
    assert await outcomes(message(b"DKIM-Signature:" + second[1] + b"\r\n" + HEADERS)) == [Outcome.PASS]


def tags_of(mail: Message) -> dict[bytes, bytes]:
    return field_tags(mail.fields_by_name[b"dkim-signature"][0][1])


def names_of(mail: Message) -> list[bytes]:
    return [name.strip() for name in tags_of(mail)[b"h"].split(b":")]


def test_each_field_is_named_as_often_as_it_is_there_and_once_more_when_oversigned() -> None:
    mail = message(HEADERS + b"To: Carol <carol@example.net>\r\nX-Other: 1\r\nReceived: by x\r\n")
    options = SigningOptions(
        sign_headers=("to", "subject", "received", "x-none"), oversign_headers=("subject", "reply-to")
    )
    names = names_of(signed(mail, signer("ed", ED[1]()), options=options))
    assert sorted(names) == sorted([b"from", b"from", b"to", b"to", b"subject", b"subject", b"reply-to"])


def test_omitted_names_are_not_signed_but_from_always_is() -> None:
    options = SigningOptions(omit_headers=("from", "subject", "date"), oversign_headers=("subject",))
    names = names_of(signed(message(HEADERS), signer("ed", ED[1]()), options=options))
    assert names == [b"from", b"from", b"message-id", b"to"]


def test_tags_are_those_of_the_options_and_there_is_never_a_length() -> None:
    options = SigningOptions(relaxed_body=False, ttl_s=86_400)
    tags = tags_of(signed(message(HEADERS), signer("rsa", RSA[1](), "@example.org"), options=options))
    assert {tag: tags[tag] for tag in (b"v", b"a", b"c", b"d", b"s", b"i")} == {
        b"v": b"1",
        b"a": b"rsa-sha256",
        b"c": b"relaxed/simple",
        b"d": b"example.org",
        b"s": b"rsa",
        b"i": b"@example.org",
    }
    assert int(tags[b"t"]) == NOW_S
    assert int(tags[b"x"]) == NOW_S + 86_400
    assert b"l" not in tags


@pytest.mark.parametrize(
    ("identity", "written"),
    [
        ("joe@example.org", b"joe@example.org"),
        ("@mail.Example.ORG", b"@mail.Example.ORG"),
        ("a;b=c d@example.org", b"a=3Bb=3Dc=20d@example.org"),
        ("@example.net", None),
        ("@notexample.org", None),
        ("@a;l=0.example.org", None),
        ("@a\r\nX: y.example.org", None),
        ("", None),
    ],
)
def test_an_identity_outside_the_domain_is_left_out(identity: str, written: bytes | None) -> None:
    assert tags_of(signed(message(HEADERS), signer("ed", ED[1](), identity))).get(b"i") == written


@pytest.mark.parametrize("domain_labels", [1, 3, 8])
@KEYS
def test_lines_are_no_longer_than_78_bytes(
    selector: str, make_key: Callable[[], PrivateKey], domain_labels: int
) -> None:
    one = Signer(".".join(["label"] * domain_labels + ["example.org"]), selector * 7, make_key())
    mail = message(HEADERS + b"".join(b"References: <%d@example.org>\r\n" % n for n in range(40)))
    (value,) = sign(mail.fields_by_name, BodyHashes(b""), [one], SigningOptions(ttl_s=1), NOW_S)
    lines = (b"DKIM-Signature:" + value).split(b"\r\n")
    assert max(map(len, lines)) <= 78
    assert all(line[:1] == b" " and line.strip() for line in lines[1:])


def test_what_cannot_be_signed_is_refused() -> None:
    one = signer("ed", ED[1]())
    with pytest.raises(SigningError, match="no From"):
        signed(message(b"To: a@example.org\r\n"), one)
    with pytest.raises(SigningError, match="more than 200"):
        signed(message(HEADERS + b"To: a@example.org\r\n" * 4000), one)
    for domain, selector in (("a;l=0.example.org", "s"), ("example.org", "s;l=0"), ("example.org", ""), ("", "s")):
        with pytest.raises(SigningError, match="no name"):
            signed(message(HEADERS), Signer(domain, selector, one.key))
    assert signed(message(HEADERS), options=SigningOptions()).headers == message(HEADERS).headers


def test_the_seed_of_nacl_and_ours_is_the_same_key() -> None:
    key = load_private_key(bytes(ed25519_key()))
    assert nacl.signing.VerifyKey(bytes(ed25519_key().verify_key)).verify(b"d" * 32, key.sign(b"d" * 32)) == b"d" * 32
