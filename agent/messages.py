"""Finds the user's language and translates what users read; logs, code and docs stay English."""

import gettext
import os
from functools import cache
from pathlib import Path

LOCALES = Path(__file__).parent / "locale"
DOMAIN = "sync_agent"


def mark(message: str) -> str:
    """Marks a literal for the translation catalogue and returns it unchanged; `translate` turns it into the user's language later."""
    return message


def language() -> str:
    """The user's language, `zh_CN` or `en`: SYNC_AGENT_LANG first, then the locale variables in POSIX order (LC_ALL, LC_MESSAGES, LANG)."""
    for name in ("SYNC_AGENT_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return "zh_CN" if value.lower().startswith("zh") else "en"
    return "en"


def teach_libraries() -> None:
    """Has libraries that ask gettext for their words, click above all, speak the user's language, too."""
    gettext.bindtextdomain(DOMAIN, str(LOCALES))
    gettext.textdomain(DOMAIN)
    os.environ["LANGUAGE"] = language()  # the first place gettext looks at


@cache
def _catalogue(lang: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, LOCALES, languages=[lang], fallback=True)


def translate(message: str, lang: str | None = None, **values: object) -> str:
    """The message in the user's language with its `{names}` filled in. A message without a translation stays English."""
    text = _catalogue(lang or language()).gettext(message)
    return text.format(**values) if values else text
