"""Chooses the partition of a key as the Java client does.

So the platform's own producers and joins agree with ours.
"""

from functools import lru_cache

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


def murmur2(data: bytes) -> int:
    """Returns the 32-bit hash of Kafka's `Utils.murmur2`, as an unsigned number."""
    h = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = h * _M & _MASK ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


@lru_cache(maxsize=65536)
def partition(key: bytes, count: int) -> int:
    """Returns the partition of a key in a topic of `count` partitions.

    The Java client computes it as `toPositive(murmur2(key)) % count`.
    """
    return (murmur2(key) & 0x7FFFFFFF) % count
