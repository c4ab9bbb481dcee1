"""Says whether a message is infected: yara-x rules always, clamd when it is configured, each with its own finding.

The engines work side by side: clamd is asked first, since it answers over a socket, and the rules run meanwhile.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from actors.actor import Budget
from actors.antivirus.archives import Allowance
from actors.antivirus.contents import contents
from actors.antivirus.yara import RuleScanTimeout, YaraRules, shipped_rules
from actors.config import AntivirusConfig
from actors.model import ErrorKind, Finding, Message, Outcome, Stage, error_finding
from actors.ports import Clock, Scanner, ScannerUnavailable

DETAIL_CHARS_MAX = 200


class AntivirusActor:
    """Findings: "yara" (infected or clean) · "archive" (hit: something could not be looked into) · "clamav"."""

    name = "antivirus"
    stages = frozenset({Stage.MESSAGE})

    def __init__(self, config: AntivirusConfig, scanners: Sequence[Scanner], clock: Clock) -> None:
        """Compile the rules. Raises RuleError."""
        self._config = config
        self._scanners = scanners
        self._clock = clock
        self._rules = YaraRules([*shipped_rules(), *map(Path, config.yara_rules)], config.yara_timeout_s)

    async def examine(self, stage: Stage, message: Message, budget: Budget) -> Sequence[Finding]:
        """Scan the message with every engine."""
        if stage is not Stage.MESSAGE:
            return ()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask(scanner, message, budget)) for scanner in self._scanners]
            if tasks:
                await asyncio.sleep(0)
            findings = self._match_rules(message, budget)
        return (*findings, *(task.result() for task in tasks))

    async def close(self) -> None:
        """Close the scanners."""
        for scanner in self._scanners:
            await scanner.close()

    def _match_rules(self, message: Message, budget: Budget) -> Sequence[Finding]:
        started_s = self._clock.monotonic_s()
        until_s = started_s + min(self._config.yara_timeout_s, budget.left_s)
        allowance = Allowance()
        matches: set[str] = set()
        late = False
        try:
            for content in contents(message, allowance):
                late = self._clock.monotonic_s() > until_s
                if late:
                    break
                matches.update(self._rules.matches(content))
        except RuleScanTimeout:
            late = True
        ms = (self._clock.monotonic_s() - started_s) * 1000
        if late and not matches:
            return (error_finding(self.name, "yara", ErrorKind.TIMEOUT, f"{self._config.yara_timeout_s:g} s", ms),)
        outcome = Outcome.INFECTED if matches else Outcome.CLEAN
        yara = Finding(self.name, "yara", outcome, 0.0, ", ".join(sorted(matches))[:DETAIL_CHARS_MAX], ms)
        if not allowance.limits:
            return (yara,)
        return yara, Finding(self.name, "archive", Outcome.HIT, 0.0, ", ".join(sorted(allowance.limits)), ms)

    async def _ask(self, scanner: Scanner, message: Message, budget: Budget) -> Finding:
        started_s = self._clock.monotonic_s()
        try:
            async with budget.timeout(self._config.clamd_timeout_s):
                result = await scanner.scan(message.raw)
        except TimeoutError:
            finding = error_finding(self.name, "clamav", ErrorKind.TIMEOUT, f"{self._config.clamd_timeout_s:g} s")
        except ScannerUnavailable as error:
            finding = error_finding(self.name, "clamav", ErrorKind.UNREACHABLE, str(error)[:DETAIL_CHARS_MAX])
        else:
            outcome = Outcome.INFECTED if result.signature else Outcome.CLEAN
            finding = Finding(self.name, "clamav", outcome, 0.0, result.signature)
        budget.record("clamd.scan", started_s, finding.outcome)
        ms = (self._clock.monotonic_s() - started_s) * 1000
        return Finding(finding.actor, finding.name, finding.outcome, finding.score, finding.detail, ms)
