"""The openspf.org suite for RFC 7208, all cases, through our adapter and the Resolver port."""

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.actor import Budget
from actors.adapters.clock import SystemClock
from actors.model import Client, Envelope
from actors.policy.spf import check_spf
from actors.ports import LookupFailed, NameNotFound

pytestmark = pytest.mark.data

CASES = 203


class SuiteResolver:
    """The Resolver port over one scenario's zone data; SPF records count as TXT where a name has no TXT of its own."""

    def __init__(self, zonedata: dict[str, Any]) -> None:
        self._zone = {str(name).lower(): records for name, records in zonedata.items()}

    async def txt(self, name: str) -> Sequence[bytes]:
        return [self._joined(value).encode("utf-8") for value in self._answers(name, "TXT")]

    async def addresses(self, name: str, *, ipv6: bool = False) -> Sequence[str]:
        return [str(value) for value in self._answers(name, "AAAA" if ipv6 else "A")]

    async def mx(self, name: str) -> Sequence[tuple[int, str]]:
        return [(int(preference), str(exchange)) for preference, exchange in self._answers(name, "MX")]

    async def ptr(self, ip: str) -> Sequence[str]:
        return [str(value) for value in self._answers(ipaddress.ip_address(ip).reverse_pointer, "PTR")]

    async def close(self) -> None:
        pass

    def _answers(self, name: str, kind: str) -> list[Any]:
        entries = self._zone.get(name.lower().rstrip("."))
        if entries is None:
            raise NameNotFound(name, nxdomain=True)
        records = [(k, v) for entry in entries if entry != "TIMEOUT" for k, v in entry.items()]
        if kind == "TXT" and not any(k == "TXT" for k, _ in records):
            records = [("TXT" if k == "SPF" else k, v) for k, v in records]
        answers = [v for k, v in records if k == kind and v != "NONE"]
        if "TIMEOUT" in answers or (not answers and "TIMEOUT" in entries):
            raise LookupFailed(name)
        if not answers:
            alias = next((v for k, v in records if k == "CNAME"), None)
            if alias is not None:
                return self._answers(alias, kind)
            raise NameNotFound(name, nxdomain=False)
        return answers

    @staticmethod
    def _joined(value: object) -> str:
        return "".join(map(str, value)) if isinstance(value, list) else str(value)


def cases(suite: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for scenario in yaml.safe_load_all(suite.read_text(encoding="utf-8")):
        for name, case in scenario["tests"].items():
            yield f"{scenario['description']}: {name}", case, scenario["zonedata"]


async def test_every_case_of_the_rfc_7208_suite_has_an_expected_result(
    corpora: Path, record_property: Callable[[str, object], None]
) -> None:
    wrong, count = [], 0
    for name, case, zonedata in cases(corpora / "conformance" / "spf" / "rfc7208-tests.yml"):
        envelope = Envelope(
            client=Client(ip=str(case["host"]), helo=str(case["helo"]).encode()),
            sender=str(case["mailfrom"]).encode(),
        )
        finding = await check_spf(envelope, SuiteResolver(zonedata), Budget.lasting(SystemClock(), 60))
        expected = case["result"] if isinstance(case["result"], list) else [case["result"]]
        count += 1
        if finding.outcome not in expected:
            wrong.append(f"{name}: {finding.outcome} ({finding.detail}), expected {expected}")
    record_property("figure", f"{count - len(wrong)}_of_{count}")
    assert not wrong, "\n".join(wrong)
    assert count == CASES
