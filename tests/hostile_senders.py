"""Senders whose SPF records want to cost time: loops, floods of addresses, terms and macros."""

from collections.abc import Callable, Iterator

from actors.model import Envelope, Outcome
from tests.fakes import NOW_S
from tests.hostile_case import DMARC, ENVELOPE, SPF, Case, mail
from tests.signing import HEADERS


def senders() -> Iterator[tuple[str, Case]]:
    """All of them by name."""

    def spf(name: str, records: str, *outcomes: Outcome, sender: bytes = b"bo@a.example") -> tuple[str, Case]:
        envelope = Envelope(client=ENVELOPE.client, sender=sender, received_at_s=NOW_S)
        return name, Case(mail(HEADERS, envelope=envelope), {"spf": outcomes}, f"{records}\n{DMARC}")

    permerror = Outcome.PERMERROR
    yield spf("spf_includes_itself", 'a.example TXT "v=spf1 include:a.example -all"', permerror)
    yield spf("spf_redirects_to_itself", 'a.example TXT "v=spf1 redirect=a.example"', permerror)
    loop = 'a.example TXT "v=spf1 include:b.example -all"\nb.example TXT "v=spf1 include:a.example -all"'
    yield spf("spf_loop_of_two", loop, permerror)
    chain = "\n".join(f'n{n}.example TXT "v=spf1 include:n{n + 1}.example -all"' for n in range(100))
    yield spf("spf_chain_of_100", f'a.example TXT "v=spf1 include:n0.example -all"\n{chain}', permerror)
    eleven = " ".join(f"a:h{n}.example" for n in range(11))
    hosts = "\n".join(f"h{n}.example A 198.51.100.{n}" for n in range(11))
    yield spf("spf_11_lookups", f'a.example TXT "v=spf1 {eleven} -all"\n{hosts}', permerror)
    ten = " ".join(f"a:h{n}.example" for n in range(10))
    yield spf("spf_10_lookups", f'a.example TXT "v=spf1 {ten} -all"\n{hosts}', Outcome.FAIL)
    void = " ".join(f"a:void{n}.example" for n in range(3))
    yield spf("spf_3_void_lookups", f'a.example TXT "v=spf1 {void} -all"', permerror)
    mx = "\n".join(f"a.example MX {n} m{n}.example" for n in range(200))
    yield spf("spf_mx_of_200_hosts", f'a.example TXT "v=spf1 mx -all"\n{mx}', permerror)
    ptr = "\n".join(f"25.2.0.192.in-addr.arpa PTR p{n}.a.example\np{n}.a.example A 198.51.100.1" for n in range(200))
    yield spf("spf_ptr_of_200_names", f'a.example TXT "v=spf1 ptr -all"\n{ptr}', Outcome.FAIL, permerror)
    terms = "a.example TXT v=spf1 " + " ".join(["ip4:198.51.100.1"] * 249)
    yield spf("spf_250_terms", terms, Outcome.NEUTRAL, permerror)
    macros = "a.example TXT v=spf1 " + " ".join(["exists:" + "%{l1r-}" * 50 + ".a.example"] * 10) + " -all"
    yield spf("spf_macros", macros, Outcome.FAIL, permerror, sender=b"-".join([b"x"] * 30) + b"@a.example")
    sender = b"\xff." * 5_000 + b"@a.example"
    names = "\n".join(f"25.2.0.192.in-addr.arpa PTR p{n}.a.example" for n in range(10))
    hosts = "\n".join(f"p{n}.a.example A 10.{n}.0.{k}" for n in range(10) for k in range(48))
    for name, record in (
        ("5_client_names", f"exists:{'%{p}' * 5}.x.example"),
        ("240_terms", "ip4:198.51.100.1 " * 240),
    ):
        zone = f"a.example TXT v=spf1 {'include:b.example ' * 8}-all\nb.example TXT v=spf1 {record}\n{names}\n{hosts}"
        yield spf(f"spf_8_includes_of_one_record_of_{name}", zone, permerror)
    for letter in "lS":
        for count, outcome in ((5, Outcome.FAIL), (60, permerror)):
            record = "a.example TXT v=spf1 " + " ".join([f"exists:{f'%{{{letter}}}' * count}"] * 10) + " -all"
            yield spf(f"spf_{count}_macros_{letter}_a_term", record, outcome, sender=sender)
    lists = "\n".join(f"i{n}.example TXT v=spf1 {' '.join(['ip4:198.51.100.1'] * 240)} -all" for n in range(10))
    for count, outcome in ((4, Outcome.NEUTRAL), (10, permerror)):
        includes = " ".join(f"include:i{n}.example" for n in range(count))
        yield spf(f"spf_{count}_includes_of_240_terms", f"a.example TXT v=spf1 {includes}\n{lists}", outcome)
    yield from _address_floods(spf)
    yield spf("spf_sender_of_100_kb", "", Outcome.NONE, sender=b"a" * 100_000 + b"@" + b"b." * 50_000 + b"example")
    yield spf("spf_sender_with_nul", SPF, Outcome.NONE, sender=b"bo@example.org\x00.evil.example")
    yield spf("spf_sender_of_8_bit", SPF, Outcome.NONE, sender=b"\xff\xfe@\xff.example")


def _address_floods(spf: Callable[..., tuple[str, Case]]) -> Iterator[tuple[str, Case]]:
    """As many addresses as are looked at, and more."""
    ptr = "\n".join(f"25.2.0.192.in-addr.arpa PTR p{n}.a.example" for n in range(10))
    mx = "\n".join(f"a.example MX 10 p{n}.a.example" for n in range(10))
    for count, outcome in ((48, Outcome.FAIL), (2_000, Outcome.PERMERROR)):
        hosts = "\n".join(f"p{n}.a.example A 10.{n}.{k >> 8}.{k & 255}" for n in range(10) for k in range(count))
        for name, terms in (
            ("a", " ".join(f"a:p{n}.a.example" for n in range(10))),
            ("mx", " ".join(["mx/28"] * 10)),
            ("ptr", " ".join(["ptr:a.example"] * 10)),
            ("client_name", " ".join(["exists:%{p}.x.example"] * 2 + ["exists:%{p}%{p}"])),
        ):
            record = f"a.example TXT v=spf1 {terms} -all"
            yield spf(f"spf_{name}_of_10_times_{count}_addresses", f"{record}\n{ptr}\n{mx}\n{hosts}", outcome)
