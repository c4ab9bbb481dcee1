"""The settings of learning: section [classifier.learning]."""

from actors.classifier.learning.bounds import Bounds, SourceKind
from wire.config import Section

_BOUNDS = {
    "memory_mb": (4, 1 << 20),
    "remember_days": (1, 3650),
    "waiting_max": (1, 1_000_000),
    "waiting_mb": (1, 65_536),
}
_PER_DAY_MAX = 10_000_000


class LearningConfig(Section, frozen=True):
    """[classifier.learning]: learning from corrections while it works; needs [redis] url.

    What a source may teach in a day (UTC) is bounded twice: how many messages, and how far they move the weights, as
    the sum of what each lesson does to the log-odds of its own message (0 = 50 %, 4 = 98 %; mostly 2 to 8, at most 16).
    """

    enabled: bool = True
    """Take examples, learn from them and let what was learnt weigh in; without Redis there is nothing to switch off."""
    user_examples_per_day: int = 100
    """Messages that one user may teach, more than anybody reports by hand."""
    user_shift_per_day: float = 300.0
    """How far one user moves weights; a quarter of a lesson goes to the tenant's."""
    tenant_examples_per_day: int = 2000
    """Messages that may be taught in the name of a tenant."""
    tenant_shift_per_day: float = 2000.0
    """How far they move the tenant's weights."""
    trap_examples_per_day: int = 5000
    """Messages that one spam trap may teach to everybody."""
    trap_shift_per_day: float = 1000.0
    """How far they move the weights; a campaign that comes a thousand times is learnt with its first few copies."""
    operator_examples_per_day: int = 1_000_000
    """Messages that may be taught with one operator's token."""
    operator_shift_per_day: float = 1_000_000.0
    """How far they move the weights: as good as unbounded, a whole folder of mail must be possible."""
    remember_days: int = 90
    """How long a message is known as learnt: so long the same one teaches nothing again, and can be relabelled."""
    memory_mb: int = 160
    """What all layers may take in each replica; a tenant takes 64 KiB, a user 16. Those that were taught longest ago
    are forgotten first."""
    waiting_max: int = 20_000
    """Examples that may wait to be learnt; beyond that `tamis learn` is told to come back later."""
    waiting_mb: int = 64
    """What they may take in Redis."""

    def bounds(self, kind: SourceKind) -> Bounds:
        """Of a source of this kind."""
        return Bounds(getattr(self, f"{kind}_examples_per_day"), getattr(self, f"{kind}_shift_per_day"))

    def __post_init__(self) -> None:
        for key, (least, most) in _BOUNDS.items():
            if not least <= getattr(self, key) <= most:
                raise ValueError(f"`{key}` must be {least} to {most}")
        for kind in SourceKind:
            bounds = self.bounds(kind)
            if not (0 <= bounds.examples <= _PER_DAY_MAX and 0 <= bounds.shift <= _PER_DAY_MAX):
                raise ValueError(f"the bounds of a day of `{kind}` must be 0 to {_PER_DAY_MAX}")
