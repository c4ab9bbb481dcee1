"""Certificates made at run time: authorities, and what they sign for the two ends of a stream."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wire.tls import TlsConfig


class Authority:
    """Signs for names and addresses."""

    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        self._certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(constraints, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, config: TlsConfig, *others: "Authority") -> None:
        """Have who reads these files trust this authority, and others."""
        Path(config.authority).write_bytes(b"".join(authority.pem for authority in (self, *others)))

    def issue(self, folder: Path, name: str, *addresses: str) -> TlsConfig:
        """Write certificate, key and authority to the folder, over what is there; good for loopback."""
        folder.mkdir(exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = [x509.DNSName("localhost")]
        alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses or ("127.0.0.1",)]
        certificate = (
            _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), self._name, key.public_key())
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        config = TlsConfig(
            certificate=str(folder / "certificate.pem"), key=str(folder / "key.pem"), authority=str(folder / "ca.pem")
        )
        Path(config.certificate).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        Path(config.key).write_bytes(key_pem(key))
        self.write(config)
        return config


def key_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes = b"") -> bytes:
    """PKCS8."""
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        protection = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
    )
