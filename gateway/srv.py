"""SRV look-ups by dnspython. Imported only when a cell is named by `srv:`: it takes 100 ms that the others save."""

from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdtypes.IN.SRV

from gateway.cells import SrvRecord, parse_host_port
from gateway.discovery import LookupFailed

LOOKUP_S = 5.0


class SrvLookup:
    """Asks the name servers given as host:port, or those of the system."""

    def __init__(self, nameservers: Sequence[str]) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=not nameservers)
        if nameservers:
            self._resolver.nameservers = [
                dns.nameserver.Do53Nameserver(*parse_host_port(address)) for address in nameservers
            ]

    async def __call__(self, name: str) -> tuple[list[SrvRecord], float]:
        """The records of the name, without the one that says "no service" (RFC 2782), and their TTL."""
        try:
            answer = await self._resolver.resolve(name, "SRV", lifetime=LOOKUP_S, search=False)
        except (dns.exception.DNSException, OSError) as error:
            raise LookupFailed(str(error)) from error
        records = [
            SrvRecord(found.priority, found.weight, found.target.to_text(omit_final_dot=True), found.port)
            for found in answer
            if isinstance(found, dns.rdtypes.IN.SRV.SRV) and found.target.to_text() != "."
        ]
        return records, float(answer.rrset.ttl if answer.rrset is not None else 0)
