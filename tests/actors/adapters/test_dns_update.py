"""actors/adapters/dns_update.py: the TSIG key is read from what people have, and is told to nobody."""

from pathlib import Path

import pytest

from actors.adapters.authority import AuthoritativeServers
from actors.adapters.dns_update import DnsUpdate, read_tsig_key
from actors.dkim.rotation.config import RotationConfig
from actors.dkim.rotation.ports import RotationError

SECRET = "c2VjcmV0IG9mIDMyIGJ5dGVzLCB3aGljaCBpdCBpcyE="
CLAUSE = f'key "rotate" {{\n\talgorithm hmac-sha512;\n\tsecret "{SECRET}";\n}};\n'


def settings(path: Path, text: str, mode: int = 0o600, **more: object) -> RotationConfig:
    path.write_text(text)
    path.chmod(mode)
    return RotationConfig(publish="nsupdate", tsig_file=str(path), **more)


def test_what_tsig_keygen_writes_and_the_bare_secret_are_the_same_key(tmp_path: Path) -> None:
    clause = read_tsig_key(settings(tmp_path / "a", CLAUSE), {})
    bare = settings(tmp_path / "b", SECRET + "\n", tsig_name="rotate", tsig_algorithm="hmac-sha512")
    assert clause == read_tsig_key(bare, {})
    variable = RotationConfig(publish="nsupdate", tsig_environment="TSIG")
    assert clause == read_tsig_key(variable, {"TSIG": CLAUSE})


@pytest.mark.parametrize(
    "text",
    ["", SECRET, CLAUSE.replace("hmac-sha512", "rot13"), CLAUSE.replace(SECRET, SECRET[1:]), "key {" * 500, "\0"],
)
def test_what_is_no_key_is_refused_without_being_quoted(text: str, tmp_path: Path) -> None:
    with pytest.raises(RotationError) as refused:
        read_tsig_key(settings(tmp_path / "a", text), {})
    assert refused.value.__cause__ is None
    assert "secret" not in str(refused.value).replace("the secret in base64", "")
    assert not SECRET or SECRET[1:] not in str(refused.value)


def test_a_file_that_others_read_is_refused_and_so_is_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(RotationError, match="chmod 600"):
        read_tsig_key(settings(tmp_path / "a", CLAUSE, 0o644), {})
    with pytest.raises(RotationError, match="TSIG: no TSIG key"):
        read_tsig_key(RotationConfig(publish="nsupdate", tsig_environment="TSIG"), {})


def test_the_key_is_not_in_what_is_shown_of_the_publisher(tmp_path: Path) -> None:
    config = settings(tmp_path / "a", CLAUSE)
    shown = repr(DnsUpdate(config, AuthoritativeServers(config), read_tsig_key(config, {})))
    assert SECRET not in shown
    assert "secret of 32" not in shown
