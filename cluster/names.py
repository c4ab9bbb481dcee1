"""Names under which Ray knows our actors."""

NAMESPACE = "tamis"
SUPERVISOR = "supervisor"
