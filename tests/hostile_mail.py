"""Mail that wants to cost time or to break the authentication, case by case, with what must come of it.

All of it is within the gateway's caps of 10,000 fields and 1 MB for a header section. Those of SPF are in
`hostile_senders`.

Unit tests look at the outcomes, `bench/auth.py` at the CPU time. Everything is made here, from our own keys.
"""

import base64
from collections.abc import Iterator, Mapping
from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from actors.config import DkimConfig, HeadersConfig, JudgementConfig
from actors.dkim.canonical import BodyHashes
from actors.dkim.seal import Sealer, seal
from actors.dkim.signing.private_key import PrivateKey
from actors.dkim.verify import Evidence
from actors.model import Message, Outcome
from tests.fakes import NOW_S
from tests.hostile_case import CLIENT_IP, CONFIG, DMARC, SPF, Case, mail
from tests.hostile_senders import senders
from tests.signing import BODY, HEADERS, dkim_sign, ed25519_key, rsa_key, rsa_record, zone

CANONICALIZATIONS = ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")
LARGEST_KEY_BITS = 4096
LISTED_SIGNER = JudgementConfig(dkim=DkimConfig(signers_first=("example.net",)))
TEN_IDS = JudgementConfig(headers=HeadersConfig(removed_authserv_ids=tuple(f"mx{n}.example.net" for n in range(10))))


def cases() -> Iterator[tuple[str, Case]]:
    """All of them by name."""
    yield from _white_space()
    yield from _signatures()
    yield from _keys()
    yield from _chains()
    yield from _header_sections()
    yield from senders()
    yield from _lookups()


def _dkim(*outcomes: Outcome) -> dict[str, tuple[Outcome, ...]]:
    return {"dkim": outcomes}


def _signed(headers: bytes, body: bytes, canonicalization: str, **tags: str) -> bytes:
    """Five signatures; the body's hash is ours, since the oracle's canonicalisation is what the spaces attack."""
    digest = BodyHashes(body).sha256(relaxed=canonicalization.endswith("relaxed"))
    tags = {"c": canonicalization, "bh": base64.b64encode(digest).decode(), **tags}
    return dkim_sign(headers, body, **tags) * 5 + headers


def _white_space() -> Iterator[tuple[str, Case]]:
    spaces = b"x" + b" " * 2**20 + b"y\r\n"
    for canonicalization in CANONICALIZATIONS:
        name = canonicalization.replace("/", "_")
        message = mail(_signed(HEADERS, spaces, canonicalization), spaces)
        yield f"spaces_1_mb_in_a_body_line_{name}", Case(message, _dkim(Outcome.PASS))
    lines = b" \r\n" * 350_000
    yield "empty_lines_1_mb", Case(mail(_signed(HEADERS, lines, "relaxed/relaxed"), lines), _dkim(Outcome.PASS))
    tabs = b"x" + b"\t " * 2**19 + b"\r\n"
    yield "tabs_and_spaces_1_mb", Case(mail(_signed(HEADERS, tabs, "relaxed/relaxed"), tabs), _dkim(Outcome.PASS))
    padded = HEADERS + b"X-Pad: x" + b" " * 1_000_000 + b"y\r\n"
    for name in ("X-Pad", "Subject"):
        headers = _signed(padded, BODY, "relaxed/relaxed", h=f"From:{name}")
        yield f"spaces_1_mb_in_a_field_beside_{name.lower()}", Case(mail(headers), {})
    runs = HEADERS + b"X-Pad: " + (b"x" + b" " * 7) * 125_000 + b"\r\n"
    yield "runs_of_7_spaces_1_mb_in_a_field", Case(mail(_signed(runs, BODY, "relaxed/relaxed", h="From:X-Pad")), {})
    folded = HEADERS + b"Subject: x" + b"\r\n " * 330_000 + b"\r\n"
    yield "folds_1_mb_in_a_field", Case(mail(folded), {})


def _signatures() -> Iterator[tuple[str, Case]]:
    for count in (201, 4000):
        names = "From:" + ":".join(f"x{number}" for number in range(count))
        many = b"".join(b"X%d: y\r\n" % number for number in range(count))
        yield f"h_of_{count}_names", Case(mail(dkim_sign(h=names) + many + HEADERS), _dkim(Outcome.PERMERROR))
    same = "From:" + ":".join(["x"] * 199)
    fields = b"X: y\r\n" * 4000 + HEADERS
    yield "h_of_200_names_over_4000_fields", Case(mail(dkim_sign(fields, h=same) * 5 + fields), _dkim(Outcome.PASS))
    for bytes_ in (4_000, 20_000, 1_000_000):
        blanks = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=rsa; h=from; bh=AAAA; b=A" + b" " * bytes_ + b"!"
        yield f"b_of_{bytes_}_spaces", Case(mail(blanks + b"\r\n" + HEADERS), _dkim(Outcome.PERMERROR))
    thousand = dkim_sign() * 1000 + HEADERS
    capped = {"dkim": (Outcome.PASS, Outcome.SKIPPED), "unverified": (Outcome.SKIPPED,)}
    yield "signatures_1000", Case(mail(thousand), capped)
    names = (".".join(["\u00e4" * 45] * 5), ".".join(["\u0915\u093f\u094d\u200d" * 12, *["\u00fc"] * 40]))
    for number, name in enumerate(names):
        fields = b"".join(
            b"DKIM-Signature: v=1; a=rsa-sha256; d=%b.x%d; s=a; h=from; bh=AAAA; b=AAAA\r\n" % (name.encode(), count)
            for count in range(100)
        )
        outcomes = _dkim(Outcome.PERMERROR, Outcome.SKIPPED)
        for kind, config in (("", CONFIG), ("_and_a_listed_signer", LISTED_SIGNER)):
            yield f"signatures_100_of_u_labels_{number}{kind}", Case(mail(fields + HEADERS), outcomes, config=config)
    long = (b"A line of text as people write it, with words of a few letters each; 78.\r\n") * 28_000
    partly = b"".join(
        dkim_sign(HEADERS, long, c=canonicalization, l=str(len(long) - count))
        for count, canonicalization in enumerate(CANONICALIZATIONS, start=1)
    )
    yield "signatures_with_l_over_2_mb", Case(mail(partly + HEADERS, long), _dkim(Outcome.POLICY))
    broken = b"DKIM-Signature: " + b";" * 8000 + b"\r\n"
    yield (
        "signatures_125_of_semicolons",
        Case(mail(broken * 125 + HEADERS), _dkim(Outcome.PERMERROR, Outcome.SKIPPED)),
    )
    for name, text in (
        ("nul", b"v=1; d=example.org\x00.evil.example; s=rsa; b=AAAA"),
        ("nul_selector", b"v=1; a=rsa-sha256; d=example.org; s=evil.example.\x00.any; h=from; bh=AAAA; b=AAAA"),
        ("parenthesis", b"v=1; a=rsa-sha256; d=example.org(.evil.example; s=rsa; h=from; bh=AAAA; b=AAAA"),
        ("quote", b"v=1; a=rsa-sha256; d=example.org'a.evil.example; s=rsa; h=from; bh=AAAA; b=AAAA"),
        ("8_bit", b"\xff\xfe=\xff; \x80"),
        ("number", b"v=1; a=rsa-sha256; d=example.org; s=rsa; h=from; bh=AAAA; b=AAAA; l=" + b"9" * 5000),
        ("empty", b""),
    ):
        yield (
            f"signature_with_{name}",
            Case(mail(b"DKIM-Signature: " + text + b"\r\n" + HEADERS), _dkim(Outcome.PERMERROR)),
        )


def _keys() -> Iterator[tuple[str, Case]]:
    records = {
        "no_base64": "v=DKIM1; p=!!!",
        "no_key": "v=DKIM1; p=AAAA",
        "no_list": "v=DKIM1 p",
        "empty": "",
        "revoked": "v=DKIM1; p=",
        "unknown_type": "v=DKIM1; k=dsa; p=AAAA",
        "of_8_bit": "v=DKIM1; p=äöü",
        "of_200_kb": "v=DKIM1; p=" + "A" * 200_000,
        "of_semicolons": ";" * 8000,
        "short_ed25519": "v=DKIM1; k=ed25519; p=AAAA",
        "cut": rsa_record()[:200],
    }
    for name, record in records.items():
        text = "\n".join((f'rsa._domainkey.example.org TXT "{record}"', SPF, DMARC))
        yield f"key_{name}", Case(mail(dkim_sign() * 5 + HEADERS), _dkim(Outcome.PERMERROR), text)
    zero = "v=DKIM1; k=ed25519; p=" + base64.b64encode(bytes(32)).decode()
    ed25519 = "\n".join((f'ed._domainkey.example.org TXT "{zero}"', SPF, DMARC))
    yield (
        "key_of_small_order",
        Case(mail(dkim_sign(a="ed25519-sha256") + HEADERS), _dkim(Outcome.FAIL, Outcome.PERMERROR), ed25519),
    )
    for name, numbers in (
        (f"of_{LARGEST_KEY_BITS}_bits", rsa.RSAPublicNumbers(65537, _odd(LARGEST_KEY_BITS))),
        ("with_a_large_exponent", rsa.RSAPublicNumbers(_odd(3071), _odd(3072))),
        ("of_16384_bits", rsa.RSAPublicNumbers(65537, _odd(16_384))),
        ("of_32768_bits", rsa.RSAPublicNumbers(65537, _odd(32_768))),
        ("with_an_even_modulus", rsa.RSAPublicNumbers(65537, _odd(2048) - 1)),
    ):
        signature = base64.b64encode(b"\x00" + b"\x5a" * (numbers.n.bit_length() // 8 - 1)).decode()
        field_ = dkim_sign(b=signature) if len(signature) < 7000 else dkim_sign()
        text = "\n".join((f'rsa._domainkey.example.org TXT "{_record(numbers)}"', SPF, DMARC))
        outcomes = (Outcome.FAIL, Outcome.PERMERROR)
        yield f"key_{name}", Case(mail(field_ * 5 + HEADERS), _dkim(*outcomes), text)


def _odd(bits: int) -> int:
    """A number of so many bits that no small prime divides more often than by chance: no modulus of a real key."""
    return (1 << bits) - 1 - (1 << bits // 2)


def _record(numbers: rsa.RSAPublicNumbers) -> str:
    key = numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "v=DKIM1; k=rsa; p=" + base64.b64encode(key).decode()


@cache
def chain(sets: int, results_bytes: int, key: rsa.RSAPrivateKey | None = None) -> bytes:
    """A header section with so many good ARC sets, each of whose results are so long."""
    results = b"mx.example.org; spf=pass (" + b"x" * results_bytes + b")"
    key = key or rsa_key(2048)
    sealer = Sealer("example.org", "rsa", PrivateKey("rsa", key.key_size, key), (b"from",))
    headers, outcome = HEADERS, Outcome.NONE
    for _ in range(sets):
        message = mail(headers)
        leaving = Evidence(message.fields_by_name, BodyHashes(BODY), NOW_S, DkimConfig())
        fields = seal(leaving, outcome, results, sealer) or ()
        headers, outcome = b"".join(b"%b:%b\r\n" % one for one in fields) + headers, Outcome.PASS
    return headers


@cache
def costly_key() -> rsa.RSAPrivateKey:
    """The longest key with the largest exponent that is verified with: it makes of 17 multiplications 65."""
    numbers, exponent = rsa_key(LARGEST_KEY_BITS).private_numbers(), 2**33 - 9
    p, q = numbers.p, numbers.q
    d = pow(exponent, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(exponent, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), numbers.iqmp, public).private_key()


def _chains() -> Iterator[tuple[str, Case]]:
    yield "chain_of_50_sets", Case(mail(chain(50, 0)), {"arc": (Outcome.PASS,)})
    yield "chain_of_50_sets_of_3_kb", Case(mail(chain(50, 3_000)), {"arc": (Outcome.PASS,)})
    yield "chain_of_50_sets_of_15_kb", Case(mail(chain(50, 15_000)), {"arc": (Outcome.FAIL,)})
    record = _record(costly_key().public_key().public_numbers())
    text = "\n".join((f'rsa._domainkey.example.org TXT "{record}"', SPF, DMARC))
    costly = mail(chain(50, 0, costly_key()))
    yield f"chain_of_50_sets_of_{LARGEST_KEY_BITS}_bits", Case(costly, {"arc": (Outcome.PASS,)}, text)
    longer = _record(rsa.RSAPublicNumbers(65537, _odd(16_384)))
    text = "\n".join((f'rsa._domainkey.example.org TXT "{longer}"', SPF, DMARC))
    yield "chain_of_50_sets_of_16384_bits", Case(mail(chain(50, 0)), {"arc": (Outcome.FAIL,)}, text)
    sets = b"ARC-Seal: i=%d; cv=none\r\nARC-Message-Signature: i=%d\r\nARC-Authentication-Results: i=%d; x\r\n"
    thousand = b"".join(sets % (number, number, number) for number in range(1, 1001))
    yield "chain_of_1000_sets", Case(mail(thousand + HEADERS), {"arc": (Outcome.FAIL,)})
    gap = chain(1, 0).replace(b"i=1", b"i=2")
    yield "chain_that_begins_with_2", Case(mail(gap), {"arc": (Outcome.FAIL,)})
    semicolons = b"ARC-Seal: " + b";" * 1_000_000 + b"\r\n" + HEADERS
    yield "seal_of_1_mb_of_semicolons", Case(mail(semicolons), {"arc": (Outcome.FAIL,)})


def _header_sections() -> Iterator[tuple[str, Case]]:
    umlaut = b"S\xfcbject: x\r\n\xc3\x9cber: y\r\nFr\xf6m: eve@example.net\r\n"
    yield "names_that_are_not_ascii", Case(mail(umlaut + dkim_sign() + HEADERS), _dkim(Outcome.PASS))
    below = dkim_sign() + umlaut + HEADERS
    yield "names_that_are_not_ascii_below_the_signature", Case(mail(below), _dkim(Outcome.PASS))
    no_colon = b"this is no field\r\n" * 3
    yield "lines_without_a_colon", Case(mail(no_colon + dkim_sign() + HEADERS), _dkim(Outcome.PASS))
    yield "fields_10000", Case(mail(b"X: y\r\n" * 9_990 + dkim_sign() + HEADERS), _dkim(Outcome.PASS))
    results = b"Authentication-Results: mx.example.net; dkim=pass header.d=bank.example\r\n"
    yield "results_1000_forged", Case(mail(results * 1000 + HEADERS), {})
    for name, text in (("comments", b"(" * 100_000), ("quotes", b'"\\' * 50_000), ("backslashes", b"\\" * 100_000)):
        yield f"results_of_{name}", Case(mail(b"Authentication-Results: " + text + b"\r\n" + HEADERS), {})
        author = b"From: " + text + b"alice@example.org\r\n"
        yield f"from_of_{name}", Case(mail(author), {"dmarc_record": (Outcome.PERMERROR,)})
    yield from _results()
    crowd = b"From: " + b",".join(b"a%d@d%d.example" % (n, n) for n in range(20_000)) + b"\r\n"
    yield "from_of_20000_addresses", Case(mail(crowd), {"dmarc_record": (Outcome.PERMERROR,)})
    permerror = {"dmarc_record": (Outcome.PERMERROR,)}
    for name, text in (
        ("open_comment_and_addresses", b"(" + b"a@b.example " * 80_000),
        ("open_quotes_and_u_labels", b'"' + b"a@%b.example " % "\u00e4.\u00fc".encode() * 50_000),
        ("blanks_and_an_address", b"x" + b" " * 1_000_000 + b"<a@example.org>"),
        ("at_signs", b"@" * 1_000_000),
    ):
        yield f"from_of_{name}", Case(mail(b"From: " + text + b"\r\n" + HEADERS[HEADERS.index(b"To:") :]), permerror)
    several = b"".join(b"From: <a@d%d.example>\r\n" % number for number in range(5_000))
    yield "from_5000_fields", Case(mail(several), permerror)
    label = "\u00e4" * 50 + "."
    for name, text in (
        ("18_addresses_of_u_labels", ", ".join(f"a@{label * 4}d{number}.example" for number in range(18))),
        (
            "18_names_of_u_labels",
            " ".join(f"a@{label * 4}d{number}.example" for number in range(18)) + " <a@example.org>",
        ),
    ):
        outcomes = {"dmarc_record": (Outcome.PERMERROR, Outcome.PASS, Outcome.NONE)}
        yield f"from_of_{name}", Case(mail(f"From: {text}\r\n".encode()), outcomes)
    for script, label in (("hebrew", "\u05d0"), ("arabic", "\u0627\u0644"), ("chinese", "\u4e2d")):
        name = ".".join([label] * (245 // (len(label) + 1)))
        unreadable = "".join(
            "From: " + " ".join(f"a@{name}.x{place}" for place in range(first, first + 20)) + " (\r\n"
            for first in range(0, 60, 20)
        )
        rest = HEADERS[HEADERS.index(b"To:") :]
        yield f"from_3_fields_of_{script}_labels", Case(mail(unreadable.encode() + rest), permerror)
    deep = b"From: a@" + b".".join([b"a"] * 126) + b"\r\n"
    yield "from_of_126_labels", Case(mail(deep), {"dmarc_record": (Outcome.NONE,)})
    words = b"From: " + b"=?utf-8?B?" * 800 + b" <a@example.org>\r\n"
    yield "from_of_encoded_words", Case(mail(words), {"dmarc_record": (Outcome.PASS, Outcome.PERMERROR)})


def _results() -> Iterator[tuple[str, Case]]:
    """As many Authentication-Results as are read, each as much work as it can be, with eleven ids of ours."""
    for name, text in (
        ("parentheses", b"()" * 9_000),
        ("as_many_parentheses_as_are_read", b"()" * 24 + b"x" * 4_000 + b" y"),
        ("escapes_in_comments", b"(\\a)" * 4_000),
        ("open_comments", b"(\\(" * 6_000),
        ("long_comments", b"x (" + b"c" * 18_000 + b") y"),
        ("blanks", b"x" + b" " * 18_000 + b"y"),
        ("digits", b"x " + b"1" * 18_000 + b" y"),
        ("quoted_pairs", b'"' + b"\\a" * 9_000 + b'"'),
        ("quoted_pairs_of_an_id", b'"' + b"\\a" * 255 + b'"'),
        ("ids_almost_ours", b"mx " + b"mx.example.ne." * 290),
    ):
        field_ = b"Authentication-Results: " + text + b"; spf=pass\r\n"
        yield f"results_50_of_{name}", Case(mail(field_ * 50 + HEADERS), {}, config=TEN_IDS)


@cache
def every_lookup() -> Message:
    """A message that makes us ask everything there is to ask, of `every_lookup_zone`."""
    return mail(dkim_sign() + dkim_sign(a="ed25519-sha256", d="mail.example.org") + chain(2, 0))


def every_lookup_zone() -> str:
    """See `every_lookup`."""
    return f"""
{zone()}
ed._domainkey.mail.example.org TXT "v=DKIM1; p="
example.org TXT "v=spf1 a:a.example mx:b.example ptr exists:%{{i}}.e.example include:i.example -all"
a.example A 198.51.100.1
b.example MX 10 m.example
m.example A 198.51.100.2
25.2.0.192.in-addr.arpa PTR other.example
other.example A {CLIENT_IP}
i.example TXT "v=spf1 ip4:{CLIENT_IP} -all"
_dmarc.org TXT "v=DMARC1; p=reject; np=reject"
"""


def _lookups() -> Iterator[tuple[str, Case]]:
    temporary = (Outcome.TEMPERROR,)
    expected = {"dkim": temporary, "arc": temporary, "spf": temporary, "dmarc_record": temporary}
    yield "dns_fails_everywhere", Case(every_lookup(), expected, every_lookup_zone(), ("*",))
    dead = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=dead; h=from; bh=AAAA; b=AAAA\r\n" * 5
    one_name = ("dead._domainkey.example.org",)
    yield "dns_fails_for_a_selector", Case(mail(dead + HEADERS), _dkim(Outcome.TEMPERROR), failing=one_name)


@cache
def all_cases() -> Mapping[str, Case]:
    """Made once per run."""
    ed25519_key()
    return dict(cases())
