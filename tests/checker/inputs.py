"""Makes random values of a business database, as PostgreSQL's input texts.

They are Chinese names, extreme numbers and dates, and what breaks careless code.
"""

import base64
import json
import uuid
from collections.abc import Callable
from itertools import product
from random import Random

Value = str | None  # PostgreSQL's input text
Make = Callable[[Random], Value]

# The characters of a large text, which cannot be compressed. It is stored out of line, and
# unchanged it is not in the log.
LARGE = 12_000
SURNAMES, GIVEN = "王李张刘陈杨黄赵周吴欧阳诸葛", "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平𠮷龘"
CANARY = "canary值7f3a"  # what no log, metric or process may show
HOSTILE = (
    "", " ", "NULL", "'", '"', "\\", "\\N", "a\tb\nc\r", "%s %(x)s", "{}", "😀🀄", "𠮷野家",
    "\u200b", "é", "ﬀ", f"ＡＢＣ{CANARY}", "\x7f\x01", "尾随空格 ",
)  # fmt: skip


def name(random: Random) -> str:
    """Returns a person's name, now and then a value that breaks careless code."""
    return (
        random.choice(HOSTILE)
        if random.random() < 0.15
        else random.choice(SURNAMES) + "".join(random.choices(GIVEN, k=random.randint(1, 2)))
    )


def sometimes(make: Make) -> Make:
    """Returns what makes the value, or NULL one time in seven."""
    return lambda random: None if random.random() < 0.15 else make(random)


def one_of(*values: str) -> Make:
    """Returns what draws one of these."""
    return lambda random: random.choice(values)


def number(random: Random) -> str:
    """Returns a number far beyond what a float keeps."""
    if random.random() < 0.1:
        return random.choice(
            ("NaN", "0.000", "-0.10", "12345678901234567890123.45678900", "1e-20", "1e25")
        )
    return f"{random.randint(-(10**9), 10**9)}.{random.randint(0, 10**6):06d}"


def money(random: Random) -> str:
    """Returns an amount with two digits."""
    return f"{random.randint(-(10**9), 10**9)}.{random.randint(0, 99):02d}"


def real(random: Random) -> str:
    """Returns a double, also an extreme one."""
    return (
        random.choice(("NaN", "Infinity", "-Infinity", "1e300", "5e-324", "0.1"))
        if random.random() < 0.2
        else repr(random.gauss(0, 1e6))
    )


def date(random: Random) -> str:
    """Returns a date, also one before Christ or of the far future."""
    if random.random() < 0.1:
        return random.choice(
            ("infinity", "-infinity", "0044-03-15 BC", "12345-06-07", "0001-01-01", "9999-12-31")
        )
    return f"{random.randint(1930, 2030)}-{random.randint(1, 12):02d}-{random.randint(1, 28):02d}"


def moment(random: Random) -> str:
    """Returns a date with a time of up to six digits after the second."""
    base = date(random)
    if "inf" in base or "BC" in base:
        return base
    hour, minute, second = random.randint(0, 23), random.randint(0, 59), random.randint(0, 59)
    return f"{base} {hour:02d}:{minute:02d}:{second:02d}.{random.randint(0, 10**6 - 1):06d}"


def zoned(random: Random) -> str:
    """Returns a moment with a time zone."""
    base = moment(random)
    return (
        base
        if "inf" in base or "BC" in base
        else base + random.choice(("+08", "+00", "-03:30", "Z"))
    )


def binary(size: int) -> Make:
    """Returns what makes random bytes."""
    return lambda random: "\\x" + random.randbytes(random.randint(0, size)).hex()


def document(random: Random) -> str:
    """Returns a JSON object with nested and hostile values."""
    return json.dumps(
        {
            "标签": random.choices(HOSTILE[2:-2], k=2),
            "数": random.randint(0, 10**18),
            "内": {"是": random.random() < 0.5, "空": None},
        },
        ensure_ascii=False,
    )


def large(random: Random) -> str:
    """Returns a text that cannot be compressed."""
    return "文" + base64.b64encode(random.randbytes(LARGE * 3 // 4)).decode()


def identity(random: Random) -> str:
    """Returns a UUID."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def big_number(random: Random) -> str:
    """Returns a key of type bigint; it is large enough never to meet twice."""
    return str(random.getrandbits(62))


def text_key(random: Random) -> str:
    """Returns a text key whose fellows differ by case, blanks or width only."""
    return (
        random.choice(("a", "A", "a ", "à", "ａ", "𠮷", "𠀀", "'", '"', "\\", "信", ""))
        + f"{random.getrandbits(48):x}"
        + random.choice(("", " ", "\t", "\\"))
    )


KEYS = (
    "",
    "a",
    "A",
    "à",
    "a\u0300",
    "À",
    "ａ",
    "Ａ",
    "ss",
    "ß",
    "𠮷",
    "𠀀",
    "吉",
    "😀",
    "🀄",
    "'",
    '"',
    "\\",
    "%s",
    f"信用{CANARY}",
    "NULL",
    "0",
    "00",
)
HOSTILE_KEYS = tuple(stem + end for stem, end in product(KEYS, ("", " ", "  ", "\t", "\\", "'")))


def hostile_key(random: Random) -> str:
    """Returns one of few text keys that careless collations and escapes take for each other."""
    return random.choice(HOSTILE_KEYS)
