"""Says whether a message is infected: yara-x rules always, clamd when it is configured, each with its own finding.

The engines work side by side: clamd is asked first and has a head start to connect, since the rules hold the event
loop while they look at one content; between contents the loop turns, and so many messages at a time are looked at as
`RULE_SCANS_MAX` says. What no engine could look at is one finding "uninspected": the same mail would end the same way
tomorrow, so it is no error.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from actors.actor import Budget
from actors.antivirus.archives import Allowance
from actors.antivirus.contents import contents, pieces
from actors.antivirus.yara import RuleScanTimeout, YaraRules, shipped_rules
from actors.config import AntivirusConfig
from actors.model import ErrorKind, Finding, Message, Outcome, Stage, error_finding
from actors.ports import Clock, MessageTooLong, Scanner, ScannerUnavailable, ScanResult

DETAIL_CHARS_MAX = 200
RULE_SCANS_MAX = 2
"""Messages in one process whose contents are looked at in turns."""
PIECES_MAX = 100
"""Of a message too long for clamd, one connection each."""
HEAD_START_S = 0.05
LOOP_TURN_S = 0.005
"""So long may the rules keep the event loop before it turns."""


class AntivirusActor:
    """Findings: "yara" (infected or clean) · "clamav" (the same, or error) · "uninspected" (skipped: why)."""

    name = "antivirus"
    stages = frozenset({Stage.MESSAGE})

    def __init__(self, config: AntivirusConfig, scanners: Sequence[Scanner], clock: Clock) -> None:
        """Compile the rules. Raises RuleError."""
        self._config = config
        self._scanners = scanners
        self._clock = clock
        self._rules = YaraRules([*shipped_rules(), *map(Path, config.yara_rules)], config.yara_timeout_s)
        self._rule_scans = asyncio.Semaphore(RULE_SCANS_MAX)

    async def examine(self, stage: Stage, message: Message, budget: Budget) -> Sequence[Finding]:
        """Scan the message with every engine."""
        if stage is not Stage.MESSAGE:
            return ()
        allowance = Allowance()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask(scanner, message, budget, allowance)) for scanner in self._scanners]
            if tasks:
                await asyncio.wait(tasks, timeout=HEAD_START_S)
            async with self._rule_scans:
                yara = await self._match_rules(message, budget, allowance)
        findings = [yara, *(task.result() for task in tasks)]
        if allowance.limits:
            findings.append(
                Finding(self.name, "uninspected", Outcome.SKIPPED, 0.0, ", ".join(sorted(allowance.limits)))
            )
        return findings

    async def close(self) -> None:
        """Close the scanners."""
        for scanner in self._scanners:
            await scanner.close()

    async def _match_rules(self, message: Message, budget: Budget, allowance: Allowance) -> Finding:
        matches: set[str] = set()
        spent_s = 0.0
        turned_s = started_s = self._clock.monotonic_s()
        try:
            for content in contents(message, allowance):
                matches.update(self._rules.matches(content))
                now_s = self._clock.monotonic_s()
                if spent_s + now_s - turned_s > self._config.yara_timeout_s:
                    allowance.limits.add("timeout")
                    break
                if now_s - turned_s > LOOP_TURN_S:
                    spent_s += now_s - turned_s
                    if not budget.left_s:
                        break
                    await asyncio.sleep(0)
                    turned_s = self._clock.monotonic_s()
        except RuleScanTimeout:
            allowance.limits.add("timeout")
        ms = (self._clock.monotonic_s() - started_s) * 1000
        if not budget.left_s and not matches:
            return error_finding(self.name, "yara", ErrorKind.TIMEOUT, "no time left", ms)
        outcome = Outcome.INFECTED if matches else Outcome.CLEAN
        return Finding(self.name, "yara", outcome, 0.0, ", ".join(sorted(matches))[:DETAIL_CHARS_MAX], ms)

    async def _ask(self, scanner: Scanner, message: Message, budget: Budget, allowance: Allowance) -> Finding:
        started_s = self._clock.monotonic_s()
        try:
            async with budget.timeout(self._config.clamd_timeout_s):
                result = await _scan_whole_or_pieces(scanner, message)
        except TimeoutError:
            finding = error_finding(self.name, "clamav", ErrorKind.TIMEOUT, f"{self._config.clamd_timeout_s:g} s")
        except MessageTooLong:
            allowance.limits.add("too_large")
            finding = Finding(self.name, "clamav", Outcome.SKIPPED, 0.0, "too_large")
        except ScannerUnavailable as error:
            finding = error_finding(self.name, "clamav", ErrorKind.UNREACHABLE, str(error)[:DETAIL_CHARS_MAX])
        else:
            outcome = Outcome.INFECTED if result.signature else Outcome.CLEAN
            finding = Finding(self.name, "clamav", outcome, 0.0, result.signature)
        budget.record("clamd.scan", started_s, finding.outcome)
        ms = (self._clock.monotonic_s() - started_s) * 1000
        return Finding(finding.actor, finding.name, finding.outcome, finding.score, finding.detail, ms)


async def _scan_whole_or_pieces(scanner: Scanner, message: Message) -> ScanResult:
    """Raises MessageTooLong when nothing was found and there are pieces too long as well, or too many."""
    try:
        return await scanner.scan(message.raw)
    except MessageTooLong:
        too_long = None
    for number, piece in enumerate(pieces(message)):
        if number >= PIECES_MAX:
            raise MessageTooLong(f"more than {PIECES_MAX} pieces")
        try:
            result = await scanner.scan(piece)
        except MessageTooLong as error:
            too_long = error
        else:
            if result.signature:
                return result
    if too_long:
        raise too_long
    return ScanResult("")
