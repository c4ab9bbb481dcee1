"""OpenLDAP's slapd on loopback for tests, in a directory of its own."""

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.addresses import free_port
from tests.certificates import Authority
from tests.conftest import skip_or_fail

SLAPD = Path("/usr/sbin/slapd")
BIND_USER = "cn=tamis,dc=example"
PASSWORD = "hush hush"
START_S = 40.0
_SCHEMA = """
attributetype ( 1.3.6.1.4.1.99999.1 NAME 'dkimAuthor' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.99999.2 NAME 'dkimDomain' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.99999.3 NAME 'dkimSelector' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.99999.4 NAME 'dkimKey' EQUALITY caseExactMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 1.3.6.1.4.1.99999.5 NAME 'dkim' SUP top AUXILIARY
  MAY ( dkimAuthor $ dkimDomain $ dkimSelector $ dkimKey ) )
"""


class Directory:
    """Context manager of one slapd: what cn=tamis alone may read, and what anybody may below ou=open: search by
    dkimDomain there, read all else."""

    def __init__(self, entries: str) -> None:
        """`entries` is LDIF below dc=example."""
        self.port, self.tls_port = free_port("127.0.0.1"), free_port("127.0.0.1")
        self.directory = Path(tempfile.mkdtemp(prefix="tamis-slapd-", dir="/tmp"))
        self.authority = self.directory / "tls" / "ca.pem"
        self._entries = entries
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if not SLAPD.exists():
            skip_or_fail("slapd is missing: tests/services/install")
        try:
            self._prepare()
            return self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> Self:
        urls = f"ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/"
        with (self.directory / "log").open("ab") as log:
            command = [SLAPD, "-d", "0", "-f", self.directory / "slapd.conf", "-h", urls]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end_s = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < end_s, "slapd did not start"
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 2).close()
        except OSError:
            return False
        return True

    def _prepare(self) -> None:
        tls = Authority().issue(self.directory / "tls", "directory")
        (self.directory / "own.schema").write_text(_SCHEMA)
        (self.directory / "data").mkdir()
        (self.directory / "slapd.conf").write_text(
            "include /etc/ldap/schema/core.schema\n"
            f"include {self.directory}/own.schema\n"
            f"pidfile {self.directory}/pid\nargsfile {self.directory}/args\n"
            "modulepath /usr/lib/ldap\nmoduleload back_mdb\n"
            f"TLSCertificateFile {tls.certificate}\nTLSCertificateKeyFile {tls.key}\n"
            'database mdb\nsuffix "dc=example"\nmaxsize 10485760\n'
            "sizelimit size.soft=600 size.hard=600 size.prtotal=unlimited\n"
            f'directory {self.directory}/data\nrootdn "{BIND_USER}"\nrootpw "{PASSWORD}"\n'
            'access to dn.subtree="ou=open,dc=example" attrs=dkimDomain by * search\n'
            'access to dn.subtree="ou=open,dc=example" by * read\naccess to * by * auth\n'
        )
        head = "dn: dc=example\nobjectClass: dcObject\nobjectClass: organization\no: example\ndc: example\n\n"
        add = ["slapadd", "-f", self.directory / "slapd.conf"]
        subprocess.run(add, input=(head + self._entries).encode(), check=True, capture_output=True)
