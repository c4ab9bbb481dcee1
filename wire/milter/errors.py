"""The two ways in which a milter conversation can go wrong; nothing else leaves the codec."""


class ProtocolError(Exception):
    """A rule of the protocol was broken; the conversation cannot go on."""


class RemoteProtocolError(ProtocolError):
    """The peer broke a rule: close the connection. The text is for the log and holds no message content."""


class LimitExceeded(RemoteProtocolError):
    """The peer sent more than `Limits` allow: well formed, and too much."""


class LocalProtocolError(ProtocolError):
    """We broke a rule: a bug of the caller, or an edit that this MTA did not offer. Nothing was sent."""
