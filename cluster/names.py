"""Names under which Ray knows our actors."""

NAMESPACE = "tamis"
SUPERVISOR = "supervisor"


def replica_name(pool: str, number: int) -> str:
    """The name of one replica of a pool, kept across restarts."""
    return f"{pool}-{number}"


def ingress_name(number: int) -> str:
    """The name of one ingress."""
    return f"ingress-{number}"
