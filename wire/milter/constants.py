"""The numbers of the milter protocol under Sendmail's names, each group with the version that brought it.

Strategy: plain integers, since the codec dispatches on them once per packet. Commands and replies are the ASCII code
of their letter. Version 5 was never released; 3 and 4 brought one command each, 6 (Sendmail 8.14) the rest.
"""

from typing import Final

VERSION_MIN: Final = 2
VERSION_MAX: Final = 6

# MTA to filter.
SMFIC_ABORT: Final = ord("A")
SMFIC_BODY: Final = ord("B")
SMFIC_CONNECT: Final = ord("C")
SMFIC_MACRO: Final = ord("D")
SMFIC_BODYEOB: Final = ord("E")
SMFIC_HELO: Final = ord("H")
SMFIC_HEADER: Final = ord("L")
SMFIC_MAIL: Final = ord("M")
SMFIC_EOH: Final = ord("N")
SMFIC_OPTNEG: Final = ord("O")
SMFIC_QUIT: Final = ord("Q")
SMFIC_RCPT: Final = ord("R")
SMFIC_UNKNOWN: Final = ord("U")  # version 3
SMFIC_DATA: Final = ord("T")  # version 4
SMFIC_QUIT_NC: Final = ord("K")  # version 6

COMMAND_NAMES: Final = {
    SMFIC_ABORT: "ABORT",
    SMFIC_BODY: "BODY",
    SMFIC_CONNECT: "CONNECT",
    SMFIC_MACRO: "MACRO",
    SMFIC_BODYEOB: "BODYEOB",
    SMFIC_HELO: "HELO",
    SMFIC_HEADER: "HEADER",
    SMFIC_MAIL: "MAIL",
    SMFIC_EOH: "EOH",
    SMFIC_OPTNEG: "OPTNEG",
    SMFIC_QUIT: "QUIT",
    SMFIC_RCPT: "RCPT",
    SMFIC_UNKNOWN: "UNKNOWN",
    SMFIC_DATA: "DATA",
    SMFIC_QUIT_NC: "QUIT_NC",
}
COMMAND_SINCE: Final = {SMFIC_UNKNOWN: 3, SMFIC_DATA: 4, SMFIC_QUIT_NC: 6}
"""Commands that not every version knows, with the first that does."""

# Filter to MTA.
SMFIR_ADDRCPT: Final = ord("+")
SMFIR_DELRCPT: Final = ord("-")
SMFIR_SHUTDOWN: Final = ord("4")
SMFIR_ACCEPT: Final = ord("a")
SMFIR_REPLBODY: Final = ord("b")
SMFIR_CONTINUE: Final = ord("c")
SMFIR_DISCARD: Final = ord("d")
SMFIR_CONN_FAIL: Final = ord("f")
SMFIR_ADDHEADER: Final = ord("h")
SMFIR_INSHEADER: Final = ord("i")
SMFIR_CHGHEADER: Final = ord("m")
SMFIR_PROGRESS: Final = ord("p")
SMFIR_QUARANTINE: Final = ord("q")
SMFIR_REJECT: Final = ord("r")
SMFIR_TEMPFAIL: Final = ord("t")
SMFIR_REPLYCODE: Final = ord("y")
SMFIR_ADDRCPT_PAR: Final = ord("2")  # version 6
SMFIR_CHGFROM: Final = ord("e")  # version 6
SMFIR_SKIP: Final = ord("s")  # version 6

# Actions: what the filter may do to a message.
SMFIF_ADDHDRS: Final = 1 << 0
SMFIF_CHGBODY: Final = 1 << 1
SMFIF_ADDRCPT: Final = 1 << 2
SMFIF_DELRCPT: Final = 1 << 3
SMFIF_CHGHDRS: Final = 1 << 4
SMFIF_QUARANTINE: Final = 1 << 5
SMFIF_CHGFROM: Final = 1 << 6  # version 6
SMFIF_ADDRCPT_PAR: Final = 1 << 7  # version 6
SMFIF_SETSYMLIST: Final = 1 << 8  # version 6
ALL_ACTIONS: Final = 0x1FF

# Steps: commands the filter does not want,
SMFIP_NOCONNECT: Final = 1 << 0
SMFIP_NOHELO: Final = 1 << 1
SMFIP_NOMAIL: Final = 1 << 2
SMFIP_NORCPT: Final = 1 << 3
SMFIP_NOBODY: Final = 1 << 4
SMFIP_NOHDRS: Final = 1 << 5
SMFIP_NOEOH: Final = 1 << 6
SMFIP_NOUNKNOWN: Final = 1 << 8  # version 3
SMFIP_NODATA: Final = 1 << 9  # version 4
# commands it does not answer (header: version 2 in Postfix, the others version 6),
SMFIP_NR_HDR: Final = 1 << 7
SMFIP_NR_CONN: Final = 1 << 12
SMFIP_NR_HELO: Final = 1 << 13
SMFIP_NR_MAIL: Final = 1 << 14
SMFIP_NR_RCPT: Final = 1 << 15
SMFIP_NR_DATA: Final = 1 << 16
SMFIP_NR_UNKN: Final = 1 << 17
SMFIP_NR_EOH: Final = 1 << 18
SMFIP_NR_BODY: Final = 1 << 19
# and how the conversation goes (version 6).
SMFIP_SKIP: Final = 1 << 10
SMFIP_RCPT_REJ: Final = 1 << 11
SMFIP_HDR_LEADSPC: Final = 1 << 20
SMFIP_MDS_256K: Final = 1 << 28
SMFIP_MDS_1M: Final = 1 << 29

WANTED_STEPS: Final = (
    SMFIP_NR_CONN
    | SMFIP_NR_HELO
    | SMFIP_NR_MAIL
    | SMFIP_NR_DATA
    | SMFIP_NR_HDR
    | SMFIP_NR_EOH
    | SMFIP_NR_BODY
    | SMFIP_NR_UNKN
    | SMFIP_SKIP
    | SMFIP_HDR_LEADSPC
    | SMFIP_MDS_256K
)
"""What Tamis asks for: only RCPT and end of message wait for an answer; values keep their space; large body chunks."""
OFFERED_STEPS: Final = 0x1F_FFFF
"""What our MTA side offers: everything of version 6 but the larger data sizes, as Postfix does."""

NO_STEP: Final = {
    SMFIC_CONNECT: SMFIP_NOCONNECT,
    SMFIC_HELO: SMFIP_NOHELO,
    SMFIC_MAIL: SMFIP_NOMAIL,
    SMFIC_RCPT: SMFIP_NORCPT,
    SMFIC_BODY: SMFIP_NOBODY,
    SMFIC_HEADER: SMFIP_NOHDRS,
    SMFIC_EOH: SMFIP_NOEOH,
    SMFIC_UNKNOWN: SMFIP_NOUNKNOWN,
    SMFIC_DATA: SMFIP_NODATA,
}
"""Command -> flag with which a filter declines it."""
NO_REPLY: Final = {
    SMFIC_CONNECT: SMFIP_NR_CONN,
    SMFIC_HELO: SMFIP_NR_HELO,
    SMFIC_MAIL: SMFIP_NR_MAIL,
    SMFIC_RCPT: SMFIP_NR_RCPT,
    SMFIC_DATA: SMFIP_NR_DATA,
    SMFIC_UNKNOWN: SMFIP_NR_UNKN,
    SMFIC_HEADER: SMFIP_NR_HDR,
    SMFIC_EOH: SMFIP_NR_EOH,
    SMFIC_BODY: SMFIP_NR_BODY,
}
"""Command -> flag with which a filter says that it will not answer it."""

# Connection families of CONNECT.
SMFIA_UNKNOWN: Final = b"U"
SMFIA_UNIX: Final = b"L"
SMFIA_INET: Final = b"4"
SMFIA_INET6: Final = b"6"

# Stages of the macro lists that a filter may ask for (SETSYMLIST).
SMFIM_CONNECT: Final = 0
SMFIM_HELO: Final = 1
SMFIM_ENVFROM: Final = 2
SMFIM_ENVRCPT: Final = 3
SMFIM_DATA: Final = 4
SMFIM_EOM: Final = 5
SMFIM_EOH: Final = 6

DATA_BYTES_64K: Final = 65_535
DATA_BYTES_256K: Final = 256 * 1024 - 1
DATA_BYTES_1M: Final = 1024 * 1024 - 1


def data_bytes_max(steps: int) -> int:
    """The largest payload that both sides agreed on with these steps."""
    if steps & SMFIP_MDS_1M:
        return DATA_BYTES_1M
    if steps & SMFIP_MDS_256K:
        return DATA_BYTES_256K
    return DATA_BYTES_64K
