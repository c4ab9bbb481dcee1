"""`tamis dkim`: make, publish and test keys; sign and verify mail files; say who signs. Needs no cell."""

from cli.dkim_keys import check_published, genkey, genzone
from cli.dkim_mail import explain, sign, verify

VERBS = {
    "genkey": genkey,
    "genzone": genzone,
    "testkey": check_published,
    "sign": sign,
    "verify": verify,
    "explain": explain,
}
