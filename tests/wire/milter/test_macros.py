"""Macros belong to their stage; nothing of one message is seen in the next."""

from wire.milter import MacroTable
from wire.milter import constants as c
from wire.milter import events as ev


def table(*updates: tuple[int, dict[bytes, bytes]]) -> MacroTable:
    macros = MacroTable()
    for command, values in updates:
        macros.update(ev.Macros(command, tuple(values.items())))
    return macros


def test_the_latest_stage_wins_whatever_came_first() -> None:
    macros = table((c.SMFIC_BODYEOB, {b"i": b"end"}), (c.SMFIC_CONNECT, {b"i": b"connect", b"j": b"mx"}))
    assert macros.get(b"i") == b"end"
    assert macros.get(b"j") == b"mx"


def test_braces_do_not_matter() -> None:
    macros = table((c.SMFIC_CONNECT, {b"{daemon_name}": b"smtpd", b"j": b"mx"}))
    assert macros.get(b"daemon_name") == macros.get(b"{daemon_name}") == b"smtpd"
    assert macros.get(b"{j}") == b"mx"
    assert macros.get(b"{}") == b""
    assert macros.get(b"none", b"default") == b"default"


def test_a_stage_replaces_its_own_macros() -> None:
    macros = table((c.SMFIC_RCPT, {b"{rcpt_addr}": b"a", b"x": b"1"}), (c.SMFIC_RCPT, {b"{rcpt_addr}": b"b"}))
    assert macros.get(b"rcpt_addr") == b"b"
    assert macros.get(b"x") == b""


def test_a_new_mail_forgets_the_last_message() -> None:
    macros = table(
        (c.SMFIC_CONNECT, {b"j": b"mx"}),
        (c.SMFIC_MAIL, {b"{auth_authen}": b"alice"}),
        (c.SMFIC_BODYEOB, {b"i": b"one"}),
        (c.SMFIC_MAIL, {b"{mail_addr}": b"bob"}),
    )
    assert (macros.get(b"auth_authen"), macros.get(b"i"), macros.get(b"mail_addr")) == (b"", b"", b"bob")
    assert macros.get(b"j") == b"mx"


def test_abort_keeps_the_client_and_quit_nc_does_not() -> None:
    macros = table((c.SMFIC_CONNECT, {b"j": b"mx"}), (c.SMFIC_HELO, {b"t": b"TLS"}), (c.SMFIC_MAIL, {b"i": b"one"}))
    macros.forget_transaction()
    assert (macros.get(b"j"), macros.get(b"t"), macros.get(b"i")) == (b"mx", b"TLS", b"")
    macros.forget_connection()
    assert (macros.get(b"j"), macros.get(b"t")) == (b"", b"")


def test_stages_that_no_command_has_are_not_kept() -> None:
    macros = MacroTable()
    for stage in range(256):
        macros.update(ev.Macros(stage, ((b"%d" % stage, b"x"),)))
    assert macros.get(b"90") == b""
    assert len(macros._stages) <= 9
