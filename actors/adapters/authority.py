"""NameServers: the authoritative servers of a zone, each asked directly, so that no cache stands in between.

The zone is where the SOA is that an answer about a name brings along; its NS records and their addresses come from the
resolver. Each address is asked without recursion, by UDP twice, then by TCP; an answer counts only with the AA bit.
What cannot be asked is told with its reason and never left out: a server that nobody sees may still lack a record.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rcode
import dns.rdatatype
import dns.resolver

from actors.dkim.rotation.config import RotationConfig
from actors.dkim.rotation.visibility import Answers, ServerAnswer
from actors.ports import LookupFailed

PORT = 53
_SERVERS_MAX = 32
"""Addresses of one zone; who has more is told so."""
_LABELS_MAX = 40
_EDNS_BYTES = 1232
_UDP_TRIES = 2
_TOGETHER = 64
"""Questions under way at the same time."""
_LIFETIME_S = 10.0
"""Of one question to the resolver."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a name server."""

    host: str
    """Its name, for people."""
    address: str
    port: int

    @property
    def label(self) -> str:
        """Name and address."""
        port = "" if self.port == PORT else f" port {self.port}"
        return f"{self.host} ({self.address}{port})" if self.host != self.address else f"{self.address}{port}"


@dataclass(frozen=True, slots=True)
class Zone:
    """Where a name is looked after."""

    name: dns.name.Name
    primary: str
    """MNAME of the SOA."""
    negative_ttl_s: int
    servers: tuple[Endpoint, ...]
    missing: tuple[ServerAnswer, ...]
    """Name servers without an address, or of whose addresses not all could be looked up."""


@dataclass
class AuthoritativeServers:
    """NameServers by dnspython. Zones are looked up once in its life: one of these for each run."""

    config: RotationConfig
    resolvers: Sequence[str] = ()
    """[dns] nameservers; empty = those of /etc/resolv.conf."""
    port: int = PORT
    """Of servers that NS records name."""
    _zones: dict[str, "asyncio.Task[Zone]"] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_TOGETHER))

    async def ask(self, name: str) -> Answers:
        """What each server has as TXT record of this name. Raises LookupFailed."""
        zone = await self.zone(name)
        answers = await asyncio.gather(*(self._ask_one(server, name) for server in zone.servers))
        return Answers((*answers, *zone.missing), zone.negative_ttl_s)

    async def zone(self, name: str) -> Zone:
        """The zone of a key record. Raises LookupFailed."""
        domain = name.partition(".")[2]  # Keys of a domain are in one zone.
        if domain not in self._zones:
            self._zones[domain] = asyncio.create_task(self._find_zone(name))
        return await self._zones[domain]

    async def _find_zone(self, name: str) -> Zone:
        configured = await endpoints(self.config.name_servers, PORT)
        asked = self._asked_of(configured) if configured else self._resolved
        apex, soa = await _soa(dns.name.from_text(name), asked)
        missing: list[ServerAnswer] = []
        servers = configured or await self._name_servers(apex, missing)
        if len(servers) > _SERVERS_MAX:
            raise LookupFailed(f"{apex} has {len(servers)} name servers, more than {_SERVERS_MAX}: say name_servers")
        return Zone(apex, soa.mname.to_text(omit_final_dot=True), soa.minimum, tuple(servers), tuple(missing))

    async def _name_servers(self, apex: dns.name.Name, missing: list[ServerAnswer]) -> list[Endpoint]:
        answer = await self._resolved(apex, "NS")
        rrset = answer.get_rrset(answer.answer, apex, dns.rdataclass.IN, dns.rdatatype.NS)
        hosts = sorted(record.target for record in rrset or ())
        found: list[Endpoint] = []
        for host in hosts[:_SERVERS_MAX]:
            text = host.to_text(omit_final_dot=True)
            addresses, problem = await self._addresses(host)
            found += [Endpoint(text, address, self.port) for address in addresses]
            if problem or not addresses:
                missing.append(ServerAnswer(text, silence=problem or "has no address"))
        if not hosts:
            raise LookupFailed(f"{apex}: no NS records")
        return found

    async def _addresses(self, host: dns.name.Name) -> tuple[list[str], str]:
        addresses, problem = [], ""
        for kind in ("A", "AAAA") if self.config.ipv6 else ("A",):
            try:
                answer = await self._resolved(host, kind)
            except LookupFailed as error:
                problem = str(error)
                continue
            wanted = dns.rdatatype.from_text(kind)
            addresses += [record.address for rrset in answer.answer if rrset.rdtype == wanted for record in rrset]
        return sorted(addresses), problem

    async def _resolved(self, name: dns.name.Name, kind: str) -> dns.message.Message:
        """What a resolver says. Raises LookupFailed; a name that does not exist is an answer."""
        resolver = dns.asyncresolver.Resolver(configure=not self.resolvers)
        if self.resolvers:
            resolver.nameservers = [
                dns.nameserver.Do53Nameserver(one.address, one.port) for one in await endpoints(self.resolvers, PORT)
            ]
        try:
            answer = await resolver.resolve(name, kind, raise_on_no_answer=False, lifetime=_LIFETIME_S, search=False)
        except dns.resolver.NXDOMAIN as error:
            found: dns.message.Message = error.responses()[name]  # type: ignore[no-untyped-call]
            return found
        except (dns.exception.DNSException, OSError) as error:
            raise LookupFailed(f"{kind} {name}: {_reason(error)}") from error
        return answer.response

    def _asked_of(self, servers: Sequence[Endpoint]) -> Callable[[dns.name.Name, str], Awaitable[dns.message.Message]]:
        async def asked(name: dns.name.Name, kind: str) -> dns.message.Message:
            problems = []
            for server in servers:
                try:
                    return await self._exchange(server, name, kind)
                except (dns.exception.DNSException, OSError, EOFError, LookupFailed) as error:
                    problems.append(f"{server.label}: {_reason(error)}")
            raise LookupFailed("; ".join(problems))

        return asked

    async def _ask_one(self, server: Endpoint, name: str) -> ServerAnswer:
        owner = dns.name.from_text(name)
        try:
            answer = await self._exchange(server, owner, "TXT")
        except (dns.exception.DNSException, OSError, EOFError, LookupFailed) as error:
            return ServerAnswer(server.label, silence=_reason(error))
        if any(rrset.name == owner and rrset.rdtype == dns.rdatatype.CNAME for rrset in answer.answer):
            return ServerAnswer(server.label, records=(b"CNAME",), ttl_s=min(rrset.ttl for rrset in answer.answer))
        rrset = answer.get_rrset(answer.answer, owner, dns.rdataclass.IN, dns.rdatatype.TXT)
        if rrset is None:
            return ServerAnswer(server.label)
        return ServerAnswer(server.label, tuple(b"".join(record.strings) for record in rrset), rrset.ttl)

    async def _exchange(self, server: Endpoint, name: dns.name.Name, kind: str) -> dns.message.Message:
        """One question to one server. Raises LookupFailed when its answer does not count, and what dnspython raises."""
        query = dns.message.make_query(name, kind, use_edns=0, payload=_EDNS_BYTES)
        query.flags &= ~dns.flags.RD
        async with self._slots:
            answer = await self._by_udp_or_tcp(query, server)
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise LookupFailed(dns.rcode.to_text(answer.rcode()))
        if not answer.flags & dns.flags.AA:
            raise LookupFailed("answers without authority for the zone")
        return answer

    async def _by_udp_or_tcp(self, query: dns.message.Message, server: Endpoint) -> dns.message.Message:
        timeout_s = self.config.server_timeout_s
        for _ in range(_UDP_TRIES):
            try:
                answer, _ = await dns.asyncquery.udp_with_fallback(query, server.address, timeout_s, server.port)
            except dns.exception.Timeout:
                continue
            return answer
        return await dns.asyncquery.tcp(query, server.address, timeout_s, server.port)


async def _soa(
    name: dns.name.Name, ask: Callable[[dns.name.Name, str], Awaitable[dns.message.Message]]
) -> tuple[dns.name.Name, "dns.rdtypes.ANY.SOA.SOA"]:
    """Apex and SOA of the zone that a name is in. Raises LookupFailed."""
    at = name
    for _ in range(_LABELS_MAX):
        answer = await ask(at, "SOA")
        for rrset in (*answer.answer, *answer.authority):
            # Of a CNAME's target it would be another zone's.
            if rrset.rdtype == dns.rdatatype.SOA and name.is_subdomain(rrset.name):
                return rrset.name, rrset[0]
        if at == dns.name.root:
            break
        at = at.parent()
    raise LookupFailed(f"{name}: no zone found")


async def endpoints(texts: Sequence[str], port: int) -> list[Endpoint]:
    """Addresses of host, host:port, [IPv6]:port or an address. Raises LookupFailed."""
    found = []
    for text in texts:
        host, at = _host_and_port(text, port)
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(host, at, type=1)
        except OSError as error:
            raise LookupFailed(f"{host}: {error.strerror}") from error
        found += [Endpoint(host, str(info[4][0]), at) for info in infos]
    return found


def _host_and_port(text: str, port: int) -> tuple[str, int]:
    try:
        return str(ipaddress.ip_address(text.strip("[]"))), port
    except ValueError:
        host, colon, number = text.rpartition(":")
    if not colon:
        return text, port
    if not (number.isascii() and number.isdecimal()):
        raise LookupFailed(f"{text}: not host:port")
    return host.strip("[]"), int(number)


def _reason(error: Exception) -> str:
    if isinstance(error, dns.exception.Timeout):
        return "does not answer"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) or type(error).__name__
