"""A Publisher by dynamic update (RFC 2136), signed with TSIG (RFC 8945), by dnspython."""

import base64
import binascii
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.tsig
import dns.update

from actors.adapters.authority import PORT, AuthoritativeServers, endpoints
from actors.adapters.dkim_files import key_file_problem
from actors.dkim.rotation.config import TSIG_ALGORITHMS, RotationConfig
from actors.dkim.rotation.ports import RotationError
from actors.dkim.signing.publication import txt_strings

_TEXT_BYTES_MAX = 4096
_TIMEOUT_S = 20.0
_NAME = re.compile(r'key\s++"?([^"\s{;]++)"?\s*+\{')
_ALGORITHM = re.compile(r'algorithm\s++"?([\w.-]++)"?\s*+;', re.ASCII)
_SECRET = re.compile(r'secret\s++"([^"]*+)"\s*+;')


def read_tsig_key(config: RotationConfig, environment: dict[str, str]) -> dns.tsig.Key:
    """The key of the settings, from its file or variable. Raises RotationError, which never quotes it."""
    if config.tsig_file:
        place, text = config.tsig_file, _file_text(Path(config.tsig_file))
    else:
        place, text = config.tsig_environment, environment.get(config.tsig_environment, "")
    name, algorithm, secret = config.tsig_name, config.tsig_algorithm, text.strip()
    if "{" in text:
        found = [pattern.search(text) for pattern in (_NAME, _ALGORITHM, _SECRET)]
        name, algorithm, secret = (match[1] if match else "" for match in found)
    try:
        if name and algorithm.lower() in TSIG_ALGORITHMS and base64.b64decode(secret, validate=True):
            return dns.tsig.Key(name, secret, algorithm)
    except (ValueError, binascii.Error, dns.exception.DNSException):
        pass  # The cause could quote it.
    raise RotationError(
        f"{place}: no TSIG key: wanted is what tsig-keygen writes ({', '.join(TSIG_ALGORITHMS)}), "
        "or the secret in base64 and `tsig_name`"
    )


def _file_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            problem = key_file_problem(status) if stat.S_ISREG(status.st_mode) else "not a regular file"
            if problem:
                raise RotationError(f"{path}: {problem}")
            return file.read(_TEXT_BYTES_MAX).decode("ascii", "replace")
    except OSError as error:
        raise RotationError(f"{path}: {error.strerror}") from error


@dataclass
class DnsUpdate:
    """Updates of the zones of which `authority` knows."""

    config: RotationConfig
    authority: AuthoritativeServers
    key: dns.tsig.Key = field(repr=False)

    async def publish(self, _domain: str, name: str, record: str) -> str:
        """The name gets this TXT record and no other, in one update."""
        zone = await self.authority.zone(name)
        update = self._update(zone.name)
        strings = " ".join(f'"{text}"' for text in txt_strings(record))
        update.replace(dns.name.from_text(name), self.config.ttl_s, "TXT", strings)
        return await self._send(update, zone.primary)

    async def revoke(self, domain: str, name: str, record: str) -> str:
        """The same."""
        return await self.publish(domain, name, record)

    async def remove(self, _domain: str, name: str) -> str:
        """The name has no TXT record any more."""
        zone = await self.authority.zone(name)
        update = self._update(zone.name)
        update.delete(dns.name.from_text(name), "TXT")
        return await self._send(update, zone.primary)

    def _update(self, zone: dns.name.Name) -> dns.update.UpdateMessage:
        return dns.update.UpdateMessage(zone, keyring=self.key)

    async def _send(self, update: dns.update.UpdateMessage, primary: str) -> str:
        problem = ""
        for server in await endpoints([self.config.update_server or primary], PORT):
            try:
                answer = await dns.asyncquery.tcp(update, server.address, _TIMEOUT_S, server.port)
            except (dns.exception.DNSException, OSError, EOFError) as error:
                problem = f"{server.label}: {str(error) or type(error).__name__}"
                continue
            if answer.rcode() != dns.rcode.NOERROR:
                raise RotationError(f"update refused by {server.label}: {dns.rcode.to_text(answer.rcode())}")
            if not answer.had_tsig:
                raise RotationError(f"{server.label}: the answer to the update is not signed")
            return f"{server.label}: {dns.rcode.to_text(answer.rcode())}"
        raise RotationError(f"no update: {problem}: see [dkim.rotation] update_server and the TSIG key")
