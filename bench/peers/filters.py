"""The filters: each with configuration of its own in a directory of its own, and how its answers are read.

rspamd has its default modules, greylisting off, Bayes in Redis, a milter proxy that scans itself with a process per
core. SpamAssassin runs as spamd behind spamass-milter, OpenDKIM verifies. What rspamd and SpamAssassin learn from is
the mail that our shipped model was trained on; what they learned, and rspamd's compiled patterns, are kept for the next
time in the user's cache directory.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers import corpus
from bench.peers.processes import Server, StartFailed, free_port, program
from bench.stack import Stack, StackOptions
from cli.mta import MtaOutcome
from cli.train import cache_directory

TRAIN_TIMEOUT_S = 900.0
RSPAMD_CONFIG = Path("/etc/rspamd")
SPAMASSASSIN_CONFIG = Path("/etc/spamassassin")
SPAMASSASSIN_USER = "debian-spamd"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a filter is started with."""

    directory: Path
    resolver: str
    """host:port."""
    corpora: Path
    """Where it learns."""
    tamis: StackOptions


@dataclass(frozen=True, slots=True)
class Running:
    """A filter that listens."""

    milter: str
    pids: tuple[int, ...]
    """Roots of the process trees that do its work; stores and resolvers are not among them."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a filter said of one message."""

    dkim_pass: bool
    spam: bool
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """One row of the table."""

    name: str
    start: Callable[[Surroundings], AbstractContextManager[Running]]
    judge: Callable[[MtaOutcome], Judged]
    version: Callable[[], str]
    messages: int = 0
    """Most that one saturation takes of it; 0: as many as asked for."""


def spam_action(outcome: MtaOutcome) -> bool:
    """Whether the filter kept the mail from the reader by its action alone."""
    return outcome.action in ("reject", "discard", "quarantine") or outcome.reply[:1] == b"5"


def says_dkim_pass(outcome: MtaOutcome) -> bool:
    """Whether an Authentication-Results field that the filter added says so."""
    fields = (value for name, value in outcome.added_headers if name.lower() == b"authentication-results")
    return any(b"dkim=pass" in value for value in fields)


# -- Tamis


@contextmanager
def start_tamis(around: Surroundings) -> Iterator[Running]:
    """`tamis up`, every process of it counted."""
    with Stack({}, around.tamis) as stack:
        yield Running(stack.milter, (stack.pid,))


def judge_tamis(outcome: MtaOutcome) -> Judged:
    spam = spam_action(outcome) or outcome.added(b"X-Spam-Flag") == b"YES"
    return Judged(says_dkim_pass(outcome), spam, degraded=bool(outcome.added(b"X-Tamis-Degraded")))


# -- rspamd

_RSPAMD = """
.include "$CONFDIR/common.conf"
options {{
  pidfile = "{directory}/rspamd.pid";
  .include "$CONFDIR/options.inc"
  .include(try=true; priority=1,duplicate=merge) "$LOCAL_CONFDIR/local.d/options.inc"
}}
logging {{
  type = "file";
  filename = "{directory}/rspamd.main.log";
  .include "$CONFDIR/logging.inc"
}}
worker "controller" {{
  bind_socket = "127.0.0.1:{controller}";
  .include "$CONFDIR/worker-controller.inc"
}}
worker "rspamd_proxy" {{
  bind_socket = "127.0.0.1:{milter}";
  milter = yes;
  timeout = 120s;
  count = {cores};
  upstream "local" {{ default = yes; self_scan = yes; }}
}}
"""


@contextmanager
def start_rspamd(around: Surroundings) -> Iterator[Running]:
    """Redis with what was learned, and rspamd."""
    directory, milter, controller, redis_port = around.directory, free_port(), free_port(), free_port()
    kept = cache_directory() / "peers" / "rspamd"
    local = directory / "local" / "local.d"
    local.mkdir(parents=True)
    kept.mkdir(parents=True, exist_ok=True)
    (local / "redis.conf").write_text(f'servers = "127.0.0.1:{redis_port}";\n')
    (local / "greylist.conf").write_text("enabled = false;\n")
    # The same fields that Tamis writes; without them nobody could compare what they found.
    (local / "milter_headers.conf").write_text('use = ["authentication-results", "x-spamd-result"];\n')
    (local / "options.inc").write_text(f'dns {{ nameserver = ["{around.resolver}"]; }}\n')
    config = directory / "rspamd.conf"
    config.write_text(_RSPAMD.format(directory=directory, controller=controller, milter=milter, cores=os.cpu_count()))
    variables = {
        "CONFDIR": RSPAMD_CONFIG,
        "LOCAL_CONFDIR": directory / "local",
        "DBDIR": kept,
        "RUNDIR": directory,
        "LOGDIR": directory,
    }
    dump = kept / "bayes.rdb"
    learned = dump.exists()
    if learned:
        shutil.copy(dump, directory / "bayes.rdb")
    redis = Server("redis", _redis_command(redis_port, directory), directory)
    try:
        ping = [program("redis-cli"), "-p", str(redis_port), "ping"]
        redis.wait_until(
            lambda: b"PONG" in subprocess.run(ping, capture_output=True, check=False).stdout, "it has loaded"
        )
        command = [program("rspamd"), "-f", "-i", "-c", str(config)]
        server = Server("rspamd", [*command, *(f"--var={key}={value}" for key, value in variables.items())], directory)
        try:
            server.wait_listening(milter)
            server.wait_listening(controller)
            if not learned:
                _teach_rspamd(around, f"127.0.0.1:{controller}")
                subprocess.run([program("redis-cli"), "-p", str(redis_port), "save"], check=True, capture_output=True)
                shutil.copy(directory / "bayes.rdb", dump)
            yield Running(f"inet:{milter}@127.0.0.1", (server.pid,))
        finally:
            server.stop()
    finally:
        redis.stop()


def _redis_command(port: int, directory: Path) -> list[str]:
    settings = {"port": port, "bind": "127.0.0.1", "save": "", "dir": directory, "dbfilename": "bayes.rdb"}
    words = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    return [program("redis-server"), *words, "--daemonize", "no"]


def _teach_rspamd(around: Surroundings, controller: str) -> None:
    for kind in ("spam", "ham"):
        folder = _training_folder(around, kind)
        command = [program("rspamc"), "-h", controller, "-n", "4", f"learn_{kind}", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRAIN_TIMEOUT_S, check=False)
        if "success = true" not in done.stdout:
            raise StartFailed(f"rspamc learned nothing: {done.stdout[-500:]}{done.stderr[-500:]}")


def _training_folder(around: Surroundings, kind: str) -> Path:
    folder = around.directory / f"learn-{kind}"
    folder.mkdir()
    for number, raw in enumerate(corpus.training(around.corpora, spam=kind == "spam")):
        (folder / str(number)).write_bytes(raw)
    return folder


def judge_rspamd(outcome: MtaOutcome) -> Judged:
    return Judged(says_dkim_pass(outcome), spam_action(outcome) or outcome.added(b"X-Spam") == b"Yes")


# -- OpenDKIM

_OPENDKIM = """
Mode v
Socket local:{milter}
Background no
AutoRestart no
Syslog no
PidFile {directory}/opendkim.pid
UserID root
AlwaysAddARHeader yes
Nameservers {resolver}
"""


@contextmanager
def start_opendkim(around: Surroundings) -> Iterator[Running]:
    """OpenDKIM as a verifier; libmilter waits 40 ms for acknowledgements on TCP, so by a unix socket."""
    directory, milter = around.directory, around.directory / "opendkim.sock"
    config = directory / "opendkim.conf"
    resolver = around.resolver.replace(":", "@")
    config.write_text(_OPENDKIM.format(milter=milter, directory=directory, resolver=resolver))
    server = Server("opendkim", [program("opendkim"), "-f", "-x", str(config)], directory)
    try:
        server.wait_until(milter.exists, f"{milter} appears")
        yield Running(f"unix:{milter}", (server.pid,))
    finally:
        server.stop()


def judge_opendkim(outcome: MtaOutcome) -> Judged:
    return Judged(says_dkim_pass(outcome), spam=False)


# -- SpamAssassin

_SPAMASSASSIN = """
dns_available yes
dns_server {resolver}
use_bayes 1
bayes_auto_learn 0
bayes_path {bayes}/bayes
use_auto_welcomelist 0
"""


@contextmanager
def start_spamassassin(around: Surroundings) -> Iterator[Running]:
    """SpamAssassin with what was learned, and spamass-milter."""
    directory, milter, spamd_port = around.directory, around.directory / "spamass.sock", free_port()
    kept = cache_directory() / "peers" / "spamassassin"
    site = directory / "site"
    site.mkdir()
    for path in SPAMASSASSIN_CONFIG.glob("*.pre"):
        shutil.copy(path, site)
    host, _, port = around.resolver.partition(":")
    bayes = directory / "bayes"
    (site / "local.cf").write_text(_SPAMASSASSIN.format(resolver=f"[{host}]:{port}", bayes=bayes))
    if kept.exists():
        shutil.copytree(kept, bayes)
    else:
        bayes.mkdir()
        _teach_spamassassin(around, site)
        shutil.copytree(bayes, kept)
    # It refuses to run as root; whom the package made for it must get here.
    for path in (directory, *directory.rglob("*")):
        shutil.chown(path, SPAMASSASSIN_USER)
    listen = ["--listen", f"127.0.0.1:{spamd_port}", "--allowed-ips", "127.0.0.1"]
    children = ["--max-children", str(os.cpu_count()), "--min-children", str(os.cpu_count())]
    command = [program("spamd"), "--siteconfigpath", str(site), "--nouser-config", "--username", SPAMASSASSIN_USER]
    spamd = Server("spamd", [*command, *listen, *children, "--pidfile", str(directory / "spamd.pid")], directory)
    try:
        spamd.wait_listening(spamd_port)
        # What follows -- goes to spamc.
        words = ["-p", str(milter), "--", "-d", "127.0.0.1", "-p", str(spamd_port)]
        bridge = Server("spamass-milter", [program("spamass-milter"), *words], directory)
        try:
            bridge.wait_until(milter.exists, f"{milter} appears")
            yield Running(f"unix:{milter}", (spamd.pid, bridge.pid))
        finally:
            bridge.stop()
    finally:
        spamd.stop()


def _teach_spamassassin(around: Surroundings, site: Path) -> None:
    for kind in ("spam", "ham"):
        folder = _training_folder(around, kind)
        command = [program("sa-learn"), "--siteconfigpath", str(site), "--no-sync", f"--{kind}", str(folder)]
        subprocess.run(command, check=True, capture_output=True, timeout=TRAIN_TIMEOUT_S)
    command = [program("sa-learn"), "--siteconfigpath", str(site), "--sync"]
    subprocess.run(command, check=True, capture_output=True, timeout=TRAIN_TIMEOUT_S)


def judge_spamassassin(outcome: MtaOutcome) -> Judged:
    status = b"".join(outcome.added(b"X-Spam-Status").split())
    return Judged(b"DKIM_VALID," in status + b",", spam_action(outcome) or outcome.added(b"X-Spam-Flag") == b"YES")


def debian_version(package: str) -> Callable[[], str]:
    """How to ask for the installed version of a package."""

    def ask() -> str:
        command = ["dpkg-query", "--show", "--showformat=${Version}", package]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    return ask


def tamis_version() -> str:
    """The commit."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    ).stdout.strip()


FILTERS = (
    Filter("tamis", start_tamis, judge_tamis, tamis_version),
    Filter("rspamd", start_rspamd, judge_rspamd, debian_version("rspamd")),
    Filter("opendkim", start_opendkim, judge_opendkim, debian_version("opendkim")),
    Filter("spamassassin", start_spamassassin, judge_spamassassin, debian_version("spamassassin"), messages=150),
)
