"""A world to sign mail in: keys and tables in memory, the actor, mail of ours and of strangers."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from actors.config import DkimConfig
from actors.dkim.actor import DkimActor
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.decision import SigningRules
from actors.dkim.signing.hosts import HostList
from actors.dkim.signing.private_key import PrivateKey, PrivateKeyError, load_private_key
from actors.dkim.signing.signer import MailSigner
from actors.dkim.signing.source import Signing
from actors.dkim.signing.tables import Entry, NamedTable, SigningTables, TableError
from actors.model import Client, Envelope, Finding, Message, Stage
from tests.fakes import NOW_S, FakeClock, FakeResolver, budget
from tests.signing import BODY, HEADERS, ed25519_key, rsa_pem, zone

CONFIG = SigningConfig(
    key_table="csl:rsa=example.org:rsa:/rsa,ed=example.org:ed:/ed",
    signing_table="csl:example.org=rsa",
    multiple_signatures=True,
)
OURS, STRANGER = Client(ip="192.0.2.1"), Client(ip="203.0.113.9")
MANY_FIELDS = HEADERS + b"References: <a@example.org>\r\n" * 200
"""More than a signature may name."""


@dataclass
class Keys:
    """A KeySource; a missing one cannot be read."""

    keys: Mapping[str, PrivateKey]
    asked: list[str] = field(default_factory=list)

    async def key(self, text: str) -> PrivateKey:
        self.asked.append(text)
        await asyncio.sleep(0)
        if text not in self.keys:
            raise PrivateKeyError(f"{text}: No such file or directory")
        return self.keys[text]


def keys() -> Keys:
    return Keys({"/rsa": load_private_key(rsa_pem()), "/ed": load_private_key(bytes(ed25519_key()))})


class Table(NamedTable):
    """Two entries of one author: a table of patterns without patterns."""

    async def find(self, names: Sequence[str]) -> Sequence[Entry]:
        return await self.entries() if "example.org" in names else []


class BrokenTable(NamedTable):
    async def find(self, names: Sequence[str]) -> Sequence[Entry]:
        raise TableError(f"the store is away ({len(names)} names)")


@dataclass
class Source:
    """A SigningSource; `broken` was never readable."""

    keys: Keys = field(default_factory=keys)
    signing: NamedTable = field(
        default_factory=lambda: Table([Entry("example.org", "rsa"), Entry("example.org", "ed")])
    )
    rules: SigningRules = field(default_factory=lambda: SigningRules(internal_hosts=HostList(["192.0.2.0/24"])))
    broken: bool = False
    key_names: tuple[str, ...] = ()
    """Further names in the KeyTable, of keys for any author's domain."""

    async def current(self) -> Signing:
        if self.broken:
            raise TableError("/etc/keys: Permission denied")
        any_domain = [Entry(name, "%:rsa:/rsa") for name in self.key_names]
        table = NamedTable([Entry("rsa", "example.org:rsa:/rsa"), Entry("ed", "example.org:ed:/ed"), *any_domain])
        return Signing(self.rules, SigningTables(self.signing, table, multiple=True), self.keys)

    async def close(self) -> None:
        self.broken = True


def actor(source: Source, config: SigningConfig = CONFIG, resolver: FakeResolver | None = None) -> DkimActor:
    clock = FakeClock()
    return DkimActor(
        DkimConfig(signing=config), resolver or FakeResolver(zone()), clock, signer=MailSigner(config, source, clock)
    )


def mail(client: Client = OURS, headers: bytes = HEADERS, received_at_s: float = NOW_S) -> Message:
    return Message(Envelope(client=client, received_at_s=received_at_s), headers, BODY)


async def signed(source: Source, message: Message, config: SigningConfig = CONFIG) -> Sequence[Finding]:
    """Both stages, the second one by another replica, with what the first one found instead of the body."""
    found = await actor(source, config).examine(Stage.MESSAGE, message, budget())
    leaving = Message(message.envelope, b"X-Added: 1\r\n" + message.header_block, b"", tuple(found))
    return await actor(source, config).examine(Stage.SIGN, leaving, budget())


def with_fields(found: Sequence[Finding], message: Message) -> Message:
    fields = [f"{one.facts['field']}: {one.facts['value']}\r\n".encode() for one in found if one.name == "signature"]
    return Message(
        msgspec.structs.replace(message.envelope, client=STRANGER), b"".join(fields) + message.header_block, BODY
    )
