"""ARC seals of the cell (RFC 8617 section 5.1): which mail gets one, and the three fields when it leaves.

At MESSAGE the chain has just been validated: what that gave, and the hash of the body, are the finding `sealing`. At
SIGN the results that the seal vouches for are those that the verdict has written, in the message as it leaves, and the
signatures that were just made are signed, too. A seal that fails is told and marked, but holds no mail: it is a hint
for who comes after us, and without it the mail is what it would be without ARC.
"""

from collections.abc import Sequence

from actors.actor import Budget
from actors.config import DkimConfig
from actors.decide.authres_reader import sealed_results
from actors.dkim.canonical import BodyHashes
from actors.dkim.seal import Sealer, seal
from actors.dkim.signing.body_hash import BodyHashError, body_of, hash_facts
from actors.dkim.signing.decision import listed_recipient
from actors.dkim.signing.options import OVERSIGN_HEADERS, SIGN_HEADERS, SigningOptions
from actors.dkim.signing.private_key import PrivateKeyError
from actors.dkim.signing.sign import SigningError, signed_names
from actors.dkim.signing.source import Signing
from actors.dkim.signing.tables import Entry, TableError, parse_key_entry
from actors.dkim.verify import Evidence
from actors.model import (
    SEAL,
    SEALING,
    Direction,
    ErrorKind,
    Finding,
    Message,
    Outcome,
    error_finding,
)

_OPTIONS = SigningOptions(
    sign_headers=(*SIGN_HEADERS, "dkim-signature"), omit_headers=(), oversign_headers=OVERSIGN_HEADERS
)
"""RFC 8617 section 4.1.2: signatures that are there are signed, too."""
_SAYABLE = (Outcome.NONE, Outcome.PASS, Outcome.FAIL)


class MailSealer:
    """Seals what goes on to others."""

    def __init__(self, config: DkimConfig, authserv_id: str) -> None:
        """`authserv_id` of the results that are vouched for; empty = the MTA's own name."""
        self._config = config
        self._settings = config.signing
        self._authserv_id = authserv_id

    def plan(self, message: Message, verified: Sequence[Finding], signing: Signing) -> tuple[Finding, ...]:
        """The finding `sealing` about a message that was verified: pass when it will get a seal."""
        if message.envelope.direction is Direction.OUTBOUND or not self._is_wanted(message, signing):
            return ()
        chain = next((one.outcome for one in verified if one.name == "arc"), Outcome.NONE)
        if chain not in _SAYABLE:
            return (Finding("dkim", SEALING, Outcome.SKIPPED, detail=f"the chain is {chain}"),)
        facts = {"chain": str(chain), **hash_facts(BodyHashes(message.body), [True])}
        return (Finding("dkim", SEALING, Outcome.PASS, detail="to be sealed", facts=facts),)

    async def seal(self, message: Message, now_s: float, signing: Signing, budget: Budget) -> tuple[Finding, ...]:
        """The three fields as findings `seal`, the topmost first; one finding `sealing` when there are none."""
        facts = next(finding.facts for finding in message.known if finding.name == SEALING)
        try:
            names = signed_names(message.fields_by_name, _OPTIONS)
        except SigningError as error:
            return (Finding("dkim", SEALING, Outcome.SKIPPED, detail=f"no seal: {error}"),)
        started_s = budget.clock.monotonic_s()
        try:
            request = parse_key_entry(Entry("seal_key", self._settings.seal_key))
            key = await signing.keys.key(request.key)
            sealer = Sealer(request.domain, request.selector, key, names)
            body = body_of(message, relaxed=True)
        except (PrivateKeyError, TableError, BodyHashError, ValueError) as error:
            return (error_finding("dkim", SEALING, ErrorKind.UNREACHABLE, f"no seal: {error}"),)
        finally:
            budget.record("dkim.key", started_s, "seal_key")
        values = [value for _, value in message.fields_by_name.get(b"authentication-results", ())]
        results = sealed_results(values, self._authserv_id or message.envelope.mta_name or "localhost")
        leaving = Evidence(message.fields_by_name, body, now_s, self._config)
        fields = seal(leaving, Outcome(facts["chain"]), results, sealer)
        if fields is None:
            return (Finding("dkim", SEALING, Outcome.SKIPPED, detail="the chain cannot be extended"),)
        return tuple(
            Finding(
                "dkim",
                SEAL,
                Outcome.PASS,
                detail="sealed",
                facts={"field": name.decode(), "value": value.decode("utf-8", "surrogateescape").removeprefix(" ")},
            )
            for name, value in fields
        )

    def _is_wanted(self, message: Message, signing: Signing) -> bool:
        match self._settings.seal:
            case "always":
                return True
            case "listed":
                return listed_recipient(message, signing.rules.seal_mail_to) is not None
        return False
