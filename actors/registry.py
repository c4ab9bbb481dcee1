"""Which actors there are, when each is asked, and how one is built from the configuration.

`stages_of` needs no actor, so that the ingress knows whom to ask without importing any. `build_actor` imports the one
actor it builds: a dkim process never loads NumPy. A port without configuration is None, its checks are then absent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from actors.actor import Actor
from actors.config import JudgementConfig, Lists
from actors.model import Stage
from actors.ports import Clock, Resolver, Scanner, Store

if TYPE_CHECKING:
    from actors.classifier.campaigns.campaigns import Campaigns
    from actors.classifier.learning.journal import Journal
    from actors.classifier.learning.learner import Learner, Read
    from actors.dkim.signing.signer import MailSigner
    from actors.reports.tally import CallLater, Tally

ACTOR_NAMES = ("dkim", "policy", "classifier", "antivirus")

_STAGES: Mapping[str, frozenset[Stage]] = {
    "dkim": frozenset({Stage.HEADERS, Stage.MESSAGE}),
    "policy": frozenset(Stage) - {Stage.SIGN},
    "classifier": frozenset({Stage.MESSAGE}),
    "antivirus": frozenset({Stage.MESSAGE}),
}


_RESOLVING = frozenset({"dkim", "policy"})


def stages_of(name: str, config: JudgementConfig) -> frozenset[Stage]:
    """When the actor of this name has something to say; a question without possible answer is not asked."""
    stages = _STAGES[name]
    if name == "policy":
        return stages.difference(_idle_stages(config.policy.lists))
    return stages | {Stage.SIGN} if name == "dkim" and config.dkim.signing.configured else stages


def _idle_stages(lists: Lists) -> Iterator[Stage]:
    """The stages with a waiting MTA at which no list could refuse: each asks what is known by then."""
    known: tuple[object, ...] = (lists.redis_prefix,)
    for stage, denied in (
        (Stage.CONNECT, lists.deny_clients),
        (Stage.HELO, lists.deny_helos),
        (Stage.MAIL, lists.deny_senders),
        (Stage.RECIPIENT, lists.deny_recipients),
    ):
        known = (*known, denied)
        if not any(known):
            yield stage


def build_actors(names: Sequence[str], config: JudgementConfig, clock: Clock) -> tuple[Actor, ...]:
    """The actors of one process, with one resolver, whose cache they share. Raises what building one of them raises."""
    resolver = _resolver(config, clock) if _RESOLVING.intersection(names) else None
    return tuple(build_actor(name, config, clock, resolver, trains=True) for name in names)


def build_actor(
    name: str, config: JudgementConfig, clock: Clock, resolver: Resolver | None = None, *, trains: bool = False
) -> Actor:
    """The actor of this name with its ports; `resolver` replaces the one of [dns]. Raises KeyError for other names.

    Opens no socket: every port connects when it is first asked. `trains`: it may be the one that learns for all.
    """
    match name:
        case "dkim":
            from actors.dkim.actor import DkimActor  # noqa: PLC0415

            signer = _signer(config, clock)
            return DkimActor(config.dkim, resolver or _resolver(config, clock), clock, config.dns.timeout_s, signer)
        case "policy":
            from actors.policy.actor import PolicyActor  # noqa: PLC0415

            return PolicyActor(config, resolver or _resolver(config, clock), _store(config), clock)
        case "classifier":
            from actors.classifier.actor import ClassifierActor  # noqa: PLC0415

            learning = _learning(config, clock, trains=trains)
            return ClassifierActor(config.classifier, clock, learning, build_campaigns(config, clock))
        case "antivirus":
            from actors.antivirus.actor import AntivirusActor  # noqa: PLC0415

            return AntivirusActor(config.antivirus, _scanners(config), clock)
    raise KeyError(name)


def build_journal(config: JudgementConfig) -> "Journal | None":
    """Where examples wait to be learnt; None when nothing is learnt, or there is no Redis."""
    learning = config.classifier.learning
    if not (learning.enabled and config.redis.url):
        return None
    from actors.adapters.redis_journal import RedisJournal  # noqa: PLC0415
    from actors.classifier.features import VERSION  # noqa: PLC0415

    return RedisJournal(config.redis, learning, VERSION)


def build_tally(config: JudgementConfig, clock: Clock, call_later: "CallLater") -> "Tally | None":
    """What counts judged messages for DMARC reports; None when there are none, or nowhere to keep the counts."""
    if not (config.dmarc_report.domain and config.redis.url):
        return None
    from actors.adapters.redis_reports import RedisReports  # noqa: PLC0415
    from actors.reports.tally import Tally  # noqa: PLC0415

    return Tally(RedisReports(config.redis, config.dmarc_report), config.dmarc_report, clock, call_later)


def build_campaigns(config: JudgementConfig, clock: Clock) -> "Campaigns | None":
    """What compares mail with reported spam; None when it is off, or there is nowhere to keep campaigns."""
    if not (config.classifier.campaigns.redis_prefix and config.redis.url):
        return None
    from actors.adapters.redis_campaigns import RedisCampaigns  # noqa: PLC0415
    from actors.classifier.campaigns.campaigns import Campaigns  # noqa: PLC0415

    settings = config.classifier.campaigns
    return Campaigns(settings, RedisCampaigns(config.redis, settings), clock)


def _resolver(config: JudgementConfig, clock: Clock) -> Resolver:
    from actors.adapters.dns import DnsResolver  # noqa: PLC0415

    return DnsResolver(config.dns, clock)


def _signer(config: JudgementConfig, clock: Clock) -> "MailSigner | None":
    """None when nothing is signed: no module of signing is loaded then."""
    signing = config.dkim.signing
    if not signing.configured:
        return None
    from actors.adapters.dkim_sources import SigningSources  # noqa: PLC0415
    from actors.adapters.dkim_watch import WatchedSigning  # noqa: PLC0415
    from actors.dkim.signing.signer import MailSigner  # noqa: PLC0415

    sealer = None
    if signing.seals:
        from actors.dkim.sealer import MailSealer  # noqa: PLC0415

        sealer = MailSealer(config.dkim, config.headers.authserv_id)
    source = WatchedSigning(signing, lambda: SigningSources(signing, config.redis, clock), clock)
    return MailSigner(signing, source, clock, sealer)


def _store(config: JudgementConfig) -> Store | None:
    if not config.redis.url:
        return None
    from actors.adapters.redis_store import RedisStore  # noqa: PLC0415

    return RedisStore(config.redis)


def _learning(config: JudgementConfig, clock: Clock, *, trains: bool) -> "Callable[[Read], Learner] | None":
    journal = build_journal(config)
    if journal is None:
        return None
    from actors.classifier.learning.commonness import Commonness  # noqa: PLC0415
    from actors.classifier.learning.learner import Learner  # noqa: PLC0415

    commonness = Commonness() if trains else None
    return lambda read: Learner(journal, read, config.classifier.learning, clock, commonness)


def _scanners(config: JudgementConfig) -> tuple[Scanner, ...]:
    if not config.antivirus.clamd:
        return ()
    from actors.adapters.clamd import ClamdScanner  # noqa: PLC0415

    return (ClamdScanner(config.antivirus),)
