"""Who may make a call: the token in its metadata against the keyring, with a line in the log for each of an operator's.

Nothing of a token is ever told, neither to the caller nor to the log.
"""

import logging
from typing import Any, NoReturn, TypeAlias
from urllib.parse import unquote

import grpc

from cluster.admin.access import Attempts, Keyring, Principal, Role, is_token

log = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_SCHEME = "Bearer "


class Admission:
    """Lets callers in."""

    def __init__(self, keyring: Keyring, attempts: Attempts) -> None:
        self._keyring = keyring
        self._attempts = attempts

    async def admit(self, context: Context, call: str, role: Role) -> Principal:
        """The caller, who may do what this role may; anybody else gets a status and the call ends."""
        token = _token(context)
        if token is None:
            await self._turn_away(context, call, "no token: metadata `authorization: Bearer TOKEN` is missing")
        if not is_token(token):
            await self._turn_away(context, call, "the token has not the form of one")
        principal = self._keyring.whose(token)
        if principal is None:
            await self._turn_away(context, call, "nobody has this token")
        if principal.role < role:
            log.warning("admin_role_refused call=%s name=%s peer=%s", call, principal.name, context.peer())
            needed = role.name.lower()
            text = f"{principal.name} is a {principal.role.name.lower()}; {call} is for the role {needed}"
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)
        if role is Role.OPERATOR:
            log.info("admin_call call=%s name=%s peer=%s", call, principal.name, context.peer())
        return principal

    async def _turn_away(self, context: Context, call: str, why: str) -> NoReturn:
        if not self._attempts.failed(host_of(context.peer())):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many wrong tokens from this address")
        log.warning("admin_token_refused call=%s peer=%s why=%s", call, context.peer(), why)
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, why)
        raise grpc.aio.AbortError  # As `abort` itself has done, which its types do not say.


def host_of(peer: str) -> str:
    """The address without the port of gRPC's "ipv4:127.0.0.1:4711" or "ipv6:%5B::1%5D:4711"."""
    return unquote(peer).rpartition(":")[0]


def _token(context: Context) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            text = value if isinstance(value, str) else ""
            return text.removeprefix(_SCHEME) if text.startswith(_SCHEME) else ""
    return None
