"""A position: how far a source has been read, as a number that only rises.

Each source makes its own numbers, of 64 bits without a sign: PostgreSQL takes its log positions
(LSN), a source without a log may count its looks. The core compares positions and stores them; what
else a source needs to go on at one stands in the token beside it.
"""


def position_text(number: int) -> str:
    """Writes a position as two halves in hexadecimal digits: `16/B374D848`."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def position_number(text: str) -> int:
    """Reads what `position_text` wrote. Raises ValueError for any other text."""
    high, low = text.split("/")
    return (int(high, 16) << 32) | int(low, 16)
