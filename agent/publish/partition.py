"""Chooses the partition of a key as the Java client does.

So the platform's own producers and joins agree with ours.
"""

from functools import lru_cache
from struct import Struct
from typing import Final

_MASK: Final = 0xFFFFFFFF
_M: Final = 0x5BD1E995


def murmur2(data: bytes) -> int:
    """Returns the 32-bit hash of Kafka's `Utils.murmur2`, as an unsigned number."""
    h = 0x9747B28C ^ len(data)
    words = _words(len(data) // 4)
    for word in words.unpack_from(data):
        k = word * _M & _MASK
        h = (h * _M ^ (k ^ k >> 24) * _M) & _MASK

    rest = data[words.size :]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


@lru_cache(maxsize=256)
def _words(count: int) -> Struct:
    """The layout of so many 32-bit words."""
    return Struct(f"<{count}I")


@lru_cache(maxsize=65536)
def partition(key: bytes, count: int) -> int:
    """Returns the partition of a key in a topic of `count` partitions.

    The Java client computes it as `toPositive(murmur2(key)) % count`.
    """
    return (murmur2(key) & 0x7FFFFFFF) % count
