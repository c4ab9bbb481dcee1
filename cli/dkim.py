"""`tamis dkim`: make, store, publish, test and rotate keys; sign, verify, say who signs. Needs no cell."""

from cli.dkim_keys import check_published, genkey, genzone
from cli.dkim_mail import explain, sign, verify
from cli.dkim_rotate import rotate
from cli.dkim_store import store_key

VERBS = {
    "genkey": genkey,
    "genzone": genzone,
    "testkey": check_published,
    "store-key": store_key,
    "rotate": rotate,
    "sign": sign,
    "verify": verify,
    "explain": explain,
}
