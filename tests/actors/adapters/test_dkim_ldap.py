"""Tables in a directory whose answers are not what they should be; a real one is in tests/live/test_directory.py."""

from pathlib import Path

import pytest
from pyasn1.error import PyAsn1Error

from actors.adapters import dkim_ldap
from actors.adapters.dkim_ldap import LdapTable
from actors.adapters.dkim_lookup import SourceDown
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.ldap_place import parse_ldap_place

_PLACE = parse_ldap_place("ldap://127.0.0.1:1/o=x?sn?sub?(cn=$d)")
_PAGED = "1.2.840.113556.1.4.319"


class Endless:
    """ldap3's Connection as far as it is used: after each page there is another."""

    pages = 0
    ended = False
    response = ({"type": "searchResEntry", "raw_attributes": {"cn": [b"a"], "sn": [b"main"]}},)
    result = {"result": 0, "description": "success", "controls": {_PAGED: {"value": {"cookie": b"next"}}}}  # noqa: RUF012

    def search(self, *_: object, **__: object) -> None:
        self.pages += 1

    def unbind(self) -> None:
        self.ended = True


async def test_a_listing_without_an_end_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Endless()
    monkeypatch.setattr(dkim_ldap, "WHOLE_TIMEOUT_S", 0.05, raising=False)
    monkeypatch.setattr(LdapTable, "_connect", lambda _: connection)
    source = LdapTable(_PLACE, SigningConfig())
    with pytest.raises(SourceDown, match="no answer in time"):
        await source.all_rows()
    assert connection.ended
    await source.close()


async def test_an_answer_that_pyasn1_does_not_take_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Rubbish(Endless):
        def search(self, *_: object, **__: object) -> None:
            raise PyAsn1Error("hush")

    monkeypatch.setattr(LdapTable, "_connect", lambda _: Rubbish())
    source = LdapTable(_PLACE, SigningConfig())
    with pytest.raises(SourceDown, match=r"^LDAPCommunicationError$"):
        await source.rows(["example.org"])
    await source.close()


async def test_the_password_is_read_for_each_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(dkim_ldap, "Connection", lambda _server, _user, password, **_: said.append(password))
    path = tmp_path / "p"
    path.touch(0o600)
    path.write_text("old\n")
    source = LdapTable(_PLACE, SigningConfig(ldap_bind_user="cn=a", ldap_bind_password="file:p"), tmp_path)
    path.write_text("new\n")
    source._connect()
    assert said == ["new"]
    path.unlink()
    with pytest.raises(SourceDown, match=r"`ldap_bind_password`: .*No such file"):
        source._connect()
    await source.close()
