"""DMARC against what receivers recorded: the SPF and DKIM results of real mail must give the DMARC result they noted.

The receivers' records are not in the corpus; each row's author domain gets one at its registered domain (public suffix
list), which is where almost all of them stand.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from publicsuffixlist import PublicSuffixList

from actors.decide.dmarc import evaluate_dmarc
from actors.domains import ascii_domain
from actors.model import Finding, Outcome
from actors.policy.dmarc import TREE_WALK, Organizations, discover
from actors.policy.suffixes import PublicSuffixes
from tests.fakes import FakeResolver

pytestmark = pytest.mark.data


@pytest.mark.parametrize("organizations", [TREE_WALK, PublicSuffixes()], ids=["tree_walk", "public_suffixes"])
async def test_the_results_that_receivers_recorded_are_ours(
    corpora: Path, organizations: Organizations, record_property: Callable[[str, object], None]
) -> None:
    suffixes = PublicSuffixList()
    wrong, count = [], 0
    with (corpora / "signed_mail" / "dmarc.tsv").open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows, delimiter="\t"):
            if row["dmarc_result"] not in ("pass", "fail"):
                continue
            author, sender = ascii_domain(row["header_from"]), ascii_domain(row["smtp_mailfrom"].rpartition("@")[2])
            signed = [result.split(":", 1) for result in row["dkim_results"].split(",") if ":" in result]
            findings = [Finding("dkim", "dkim", Outcome(result), facts={"header.d": d}) for result, d in signed]
            findings.append(Finding("policy", "spf", Outcome(row["spf_result"]), facts={"domain": sender}))
            zone = "\n".join(
                {
                    f'_dmarc.{suffixes.privatesuffix(domain)} TXT "v=DMARC1; p={row["policy_p"]}"'
                    for domain in (author, sender, *(d for _, d in signed))
                    if suffixes.privatesuffix(domain)
                }
            )
            identifiers = sorted({sender, *(d for _, d in signed)} - {""})
            findings.append(await discover(author, identifiers, FakeResolver(zone), organizations))
            dmarc = evaluate_dmarc(findings)
            count += 1
            if dmarc is None or dmarc.outcome != row["dmarc_result"]:
                wrong.append(f"{row['file']}: {dmarc}")
    record_property("figure", f"{100 * (count - len(wrong)) / count:.2f}%_of_{count}")
    assert not wrong, "\n".join(wrong)
    assert count > 1000
