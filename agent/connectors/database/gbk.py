"""Tells by their bytes whether texts are Chinese in GBK, whatever their column is declared as."""

from collections.abc import Iterable

_FEWEST = 4  # common characters, of all texts
_SHARE = 0.75  # of the characters that are not of ASCII; names have rare ones, too


def looks_like_gbk(texts: Iterable[bytes]) -> bool:
    """Returns whether most of what is not ASCII in these texts is common Chinese in GBK.

    Common are the 3,755 characters that GB 2312 has in its first level, both of whose bytes are
    high. In texts of Europe a high byte hardly ever follows another one. UTF-8 is no GBK.
    """
    common = 0
    others = 0
    for octets in texts:
        if octets.isascii():
            continue
        if _is_utf8(octets):
            others += len(octets.decode())
            continue
        try:
            letters = octets.decode("gbk")
        except UnicodeDecodeError:
            others += sum(octet >= 0x80 for octet in octets)
            continue
        for letter in letters:
            if letter.isascii():
                continue
            lead, *trail = letter.encode("gbk")
            if not trail or trail[0] < 0xA1:
                others += 1
            elif 0xB0 <= lead <= 0xD7:
                common += 1
            elif not 0xA1 <= lead <= 0xA3:
                # Those are punctuation, which Chinese and other texts share
                others += 1
    return common >= _FEWEST and common >= _SHARE * (common + others)


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True
