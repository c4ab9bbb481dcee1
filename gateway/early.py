"""The stages before the end of the message at which the MTA may wait, and what is negotiated for them. Pure.

At a stage that is not configured the gateway declines the reply, so that the MTA goes on at once; one that cannot go on
without a reply gets its Continue.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Final

from tamis.filter.v1 import message_pb2
from wire.milter import Wanted
from wire.milter import constants as c


class Stage(StrEnum):
    """By the SMTP command that waits; the words of [gateway.early], metrics and logs."""

    CONNECT = "connect"
    HELO = "helo"
    MAIL = "mail"
    RCPT = "rcpt"


NUMBERS: Final[Mapping[Stage, message_pb2.Stage]] = {
    Stage.CONNECT: message_pb2.STAGE_CONNECT,
    Stage.HELO: message_pb2.STAGE_HELO,
    Stage.MAIL: message_pb2.STAGE_MAIL,
    Stage.RCPT: message_pb2.STAGE_RECIPIENT,
}
"""The contract's number of each."""
_NO_REPLY: Final = {
    Stage.CONNECT: c.SMFIP_NR_CONN,
    Stage.HELO: c.SMFIP_NR_HELO,
    Stage.MAIL: c.SMFIP_NR_MAIL,
    Stage.RCPT: c.SMFIP_NR_RCPT,
}


@cache
def offer(stages: frozenset[Stage]) -> Wanted:
    """What the gateway negotiates: of all commands only these stages and the end of the message wait for an answer."""
    # Refused recipients are counted too; DATA and unknown commands tell us nothing.
    steps = c.WANTED_STEPS | c.SMFIP_RCPT_REJ | c.SMFIP_NODATA | c.SMFIP_NOUNKNOWN
    for stage, no_reply in _NO_REPLY.items():
        steps = steps & ~no_reply if stage in stages else steps | no_reply
    return Wanted(
        actions=c.ALL_ACTIONS,
        steps=steps,
        symlists=(
            (c.SMFIM_CONNECT, b"j {daemon_name}"),
            (c.SMFIM_HELO, b"{tls_version} {cert_subject} {cert_issuer}"),
            (c.SMFIM_ENVFROM, b"i {auth_authen} {auth_type}"),
            (c.SMFIM_ENVRCPT, b"{rcpt_mailer}"),
            (c.SMFIM_EOH, b"i"),
            (c.SMFIM_EOM, b"i"),
        ),
    )
