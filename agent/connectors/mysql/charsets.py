"""Decodes texts of the server's character sets, as the server itself converts them to utf8mb4.

Where Python's codec of a name differs from the server's in a single letter, it is not used: the
column is refused instead.
"""

from collections.abc import Callable
from typing import Final

# The server's id of `binary`, the collation of bytes
BINARY: Final = 63

# By the server's name of the character set. utf8 is what MySQL 5.7 and MariaDB call utf8mb3
_CODECS: Final = {
    "ascii": "ascii",
    "utf8": "utf-8",
    "utf8mb3": "utf-8",
    "utf8mb4": "utf-8",
    "ucs2": "utf-16-be",
    "utf16": "utf-16-be",
    "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
    "gb18030": "gb18030",
    "gbk": "gbk",
    "gb2312": "gb2312",
}

# The bytes that Windows-1252 leaves free are control characters to the server
_LATIN1: Final = "".join(
    bytes((code,)).decode("cp1252", "ignore") or chr(code) for code in range(256)
)


# Python has the standard of 2000, the servers that of 2005, which has changed two letters
_GB18030_2005: Final = {0xE7C7: 0x1E3F, 0x1E3F: 0xE7C7}


class NoText(ValueError):
    """A value has no canonical text: a zero date, a NUL character, bytes that are no letters."""


def text_decoder(charset: str) -> Callable[[bytes], str] | None:
    """Returns what decodes texts of a character set; None for one that is not supported.

    It raises NoText.
    """
    if charset == "latin1":
        return _latin1
    codec = _CODECS.get(charset)
    if codec is None:
        return None
    if codec == "utf-8":
        return _utf8

    def decode(raw: bytes) -> str:
        try:
            text = _without_nul(raw.decode(codec))
        except UnicodeDecodeError:
            raise NoText from None
        return text.translate(_GB18030_2005) if codec == "gb18030" else text

    return decode


def _utf8(raw: bytes) -> str:
    try:
        return _without_nul(raw.decode())
    except UnicodeDecodeError:
        raise NoText from None


def _latin1(raw: bytes) -> str:
    return _without_nul("".join([_LATIN1[byte] for byte in raw]))


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise NoText
    return text
