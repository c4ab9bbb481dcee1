"""A sample of the mail, chosen by the transaction's id: everybody who knows the id chooses alike, without a word."""

import zlib


def sampled(transaction_id: bytes, share: float) -> bool:
    """Whether the message is in the sample: the same at every process, and at every replay, for the same id.

    What has no id (a probe) is never sampled. Ids are random, so a checksum spreads them well.
    """
    return bool(transaction_id) and zlib.crc32(transaction_id) < share * 2**32
