"""Names under which Ray knows our actors."""

NAMESPACE = "tamis"
SUPERVISOR = "supervisor"


def ingress_name(number: int) -> str:
    """The name of one ingress."""
    return f"ingress-{number}"
