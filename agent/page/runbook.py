"""Shows the handbook's text about an error code: the few forms of Markdown that it uses."""

import re

from agent.page.markup import Markup, element, joined, with_code

_LINK = re.compile(r"\[([^\]]+)\]\(([^)]*)\)")
_BOLD = re.compile(r"\*\*([^*]+)\*\*")
_ITEM = re.compile(r"^(?:[-*]|\d+\.) ")


def shown(text: str) -> Markup:
    """Returns headings, paragraphs, lists and blocks of code as HTML; anything else as its text."""
    parts: list[Markup] = []
    blocks = re.split(r"^```[^\n]*\n", text, flags=re.MULTILINE)
    for number, block in enumerate(blocks):
        if number % 2:
            parts.append(element("pre", element("code", block.rstrip())))
        else:
            parts += [_paragraph(lines) for lines in re.split(r"\n\s*\n", block) if lines.strip()]
    return joined(parts)


def _paragraph(text: str) -> Markup:
    text = text.strip("\n")
    if text.startswith("#"):
        return element("h1", _inline(text.lstrip("# ")))
    if not _ITEM.match(text):
        return element("p", _inline(text))

    items: list[str] = []
    for line in text.splitlines():
        if _ITEM.match(line):
            items.append(_ITEM.sub("", line, count=1))
        else:
            items[-1] += " " + line.strip()
    kind = "ol" if text[0].isdigit() else "ul"
    return element(kind, *[element("li", _inline(item)) for item in items])


def _inline(text: str) -> Markup:
    """Returns code and bold text as such; of a link its text, since pages lie elsewhere here."""
    written = with_code(_LINK.sub(r"\1", text))
    return Markup(_BOLD.sub(r"<strong>\1</strong>", written))
