"""Writes keys and values as TOML. A library for it would bring no more than these lines."""

import json
import re
from collections.abc import Mapping

# What JSON leaves as it is: TOML forbids the first, and some editors take the others for line ends
_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029]")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def toml_key(name: str) -> str:
    """Writes the name of a setting, in quotes where TOML wants them."""
    return name if _BARE_KEY.fullmatch(name) else toml_value(name)


def toml_value(value: object) -> str:
    """Writes a text, number, boolean, list or table of a setting on one line."""
    if isinstance(value, Mapping):
        pairs = [f"{toml_key(name)} = {toml_value(item)}" for name, item in value.items()]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    if isinstance(value, list):
        return "[" + ", ".join([toml_value(item) for item in value]) + "]"
    # JSON's texts, numbers and booleans are TOML's too
    text = json.dumps(value, ensure_ascii=False)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
