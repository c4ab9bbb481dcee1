"""Offer and wish become what holds."""

import pytest

from wire.milter import FilterConnection, Wanted, negotiate
from wire.milter import constants as c
from wire.milter import events as ev

POSTFIX = ev.Negotiate(6, 0x1FF, 0x1FFFFF)
SENDMAIL = ev.Negotiate(6, 0x1FF, 0x301FFFFF)


@pytest.mark.parametrize(("offered", "version"), [(2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 6), (0xFFFFFFFF, 6)])
def test_the_older_version_holds(offered: int, version: int) -> None:
    assert negotiate(ev.Negotiate(offered, 0, 0)).version == version


def test_tamis_asks_postfix_for_silence_at_all_but_rcpt_and_end_of_message() -> None:
    answer = negotiate(POSTFIX)
    silent = {command for command, flag in c.NO_REPLY.items() if answer.steps & flag}
    assert silent == set(c.NO_REPLY) - {c.SMFIC_RCPT}
    assert not any(answer.steps & flag for flag in c.NO_STEP.values())
    assert answer.steps & c.SMFIP_SKIP
    assert answer.steps & c.SMFIP_HDR_LEADSPC
    assert answer.actions == c.ALL_ACTIONS


def test_large_chunks_are_taken_when_offered() -> None:
    assert negotiate(SENDMAIL).steps & (c.SMFIP_MDS_256K | c.SMFIP_MDS_1M) == c.SMFIP_MDS_256K


@pytest.mark.parametrize("actions", [0, 1, 0x1F, 0x3F, 0x1FF])
@pytest.mark.parametrize("steps", [0, 0x7F, 0x3FF, 0x1FFFFF, 0x301FFFFF])
def test_nothing_is_taken_that_was_not_offered(actions: int, steps: int) -> None:
    answer = negotiate(ev.Negotiate(6, actions, steps))
    assert answer.actions & ~actions == 0
    assert answer.steps & ~steps == 0


def test_macro_lists_go_only_to_an_mta_that_can_read_them() -> None:
    lists = ((c.SMFIM_ENVFROM, b"i {auth_authen}"),)
    assert negotiate(POSTFIX, symlists=lists).symlists == lists
    assert negotiate(ev.Negotiate(6, 0xFF, 0), symlists=lists).symlists == ()
    old = negotiate(ev.Negotiate(4, 0x1FF, 0), symlists=lists)
    assert old.symlists == ()
    assert not old.actions & c.SMFIF_SETSYMLIST


def test_a_connection_answers_with_what_it_was_told_to_want() -> None:
    wanted = Wanted(actions=c.SMFIF_ADDHDRS, steps=c.SMFIP_NR_HDR, symlists=())
    assert FilterConnection(offer=wanted).negotiate(POSTFIX) == ev.Negotiated(6, c.SMFIF_ADDHDRS, c.SMFIP_NR_HDR)
