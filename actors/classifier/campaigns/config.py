"""The settings of near-duplicate campaigns: section [classifier.campaigns]."""

from enum import StrEnum

from wire.config import Section

_BOUNDS = {
    "similarity_min": (0.3, 1.0),
    "reports_min": (1, 1000),
    "expire_days": (1, 365),
    "campaigns_max": (1, 10_000_000),
}


class Scope(StrEnum):
    """Who knows of a campaign."""

    SHARED = "shared"
    TENANT = "tenant"


class CampaignConfig(Section, frozen=True):
    """[classifier.campaigns]: mutated copies of mail that was reported as spam are found, on every node."""

    redis_prefix: str = ""
    """When set and Redis is configured: mail is compared with what `tamis campaign report` has put below
    PREFIX:campaign. One round trip for each message; empty = off."""
    scope: Scope = Scope.SHARED
    """`shared`: what one tenant reports counts for all; `tenant`: each has its own."""
    similarity_min: float = 0.4
    """Pairs of neighbouring words in common, as a share of all that either message has, from which mail belongs to a
    campaign. Of 5,650 ham and 3,396 spam no two messages have 0.31."""
    reports_min: int = 1
    """Different messages of a campaign that must have been reported before it counts: more, where users report."""
    expire_days: int = 14
    """Without a further report a campaign is forgotten after so long."""
    campaigns_max: int = 50_000
    """Of one scope, some 10 KB of Redis each; the one whose last report is the oldest makes room for a new one."""

    def __post_init__(self) -> None:
        for key, (least, most) in _BOUNDS.items():
            if not least <= getattr(self, key) <= most:
                raise ValueError(f"`{key}` must be between {least} and {most}")
        if "{" in self.redis_prefix or "}" in self.redis_prefix:
            raise ValueError("`redis_prefix` must not hold braces: they say where a Cluster keeps what")
