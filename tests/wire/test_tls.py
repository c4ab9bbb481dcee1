from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.certificates import Authority, key_pem
from wire.tls import TlsConfig, TlsError, fingerprint, on_loopback, read_credentials


@pytest.fixture
def config(tmp_path: Path) -> TlsConfig:
    return Authority().issue(tmp_path / "gateway", "gateway")


def test_files_that_fit_are_read_and_never_shown(config: TlsConfig) -> None:
    credentials = read_credentials(config)
    assert credentials.key == Path(config.key).read_bytes()
    assert "BEGIN" not in repr(credentials)


@pytest.mark.parametrize(
    ("key", "content", "complaint"),
    [
        ("key", None, "`key` {path}: No such file or directory"),
        ("authority", None, "`authority` {path}: No such file or directory"),
        ("key", b"rubbish", "`key` {path}: no usable pem"),
        ("certificate", b"", "`certificate` {path} and"),
        ("authority", b"rubbish", "`authority` {path}: no certificate or crl found"),
        ("key", key_pem(ec.generate_private_key(ec.SECP256R1())), "`key` {path}: key values mismatch"),
        ("key", key_pem(ec.generate_private_key(ec.SECP256R1()), b"secret"), "`key` {path}: "),
    ],
)
def test_files_that_cannot_be_used_are_one_line(
    config: TlsConfig, key: str, content: bytes | None, complaint: str
) -> None:
    path = Path(getattr(config, key))
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(TlsError) as caught:
        read_credentials(config)
    assert complaint.format(path=path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "BEGIN" not in str(caught.value)


def test_a_fingerprint_changes_with_each_of_the_files(config: TlsConfig) -> None:
    before = fingerprint(config)
    assert fingerprint(config) == before
    for path in map(Path, (config.certificate, config.key, config.authority)):
        path.write_bytes(path.read_bytes() + b"\n")
        assert fingerprint(config) != before
        before = fingerprint(config)
    Path(config.key).unlink()
    assert fingerprint(config) != before


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("192.0.2.1", False),
        ("::", False),
        ("0.0.0.0", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_only_this_machine_for_sure_is_loopback(host: str, expected: bool) -> None:  # noqa: FBT001
    assert on_loopback(host) is expected
