"""Says what is wrong at one place of the configuration file, and what to write instead.

No value is ever repeated.
"""

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

from agent.messages import mark, translate

Place = tuple[str | int, ...]
Schema = Mapping[str, Any]

UNKNOWN_NEAR = mark("unknown setting; did you mean {near}?")
UNKNOWN = mark("unknown setting; possible here: {known}")
MISSING = mark("missing; add {example}")
EXPECTED = mark("write {form}")

# Words for the patterns of agent.config.settings; a test demands one for each.
PATTERNS = {
    r"^[a-z][a-z0-9_]{0,62}$": mark(
        "a name of at most 63 lower-case letters, digits and _, beginning with a letter"
    ),
    r"^[A-Za-z0-9._-]{1,200}$": mark("a topic name: at most 200 letters, digits, dots, - and _"),
    r"^[A-Za-z0-9_-]{1,40}$": mark("a name of at most 40 letters, digits, - and _"),
    r"^\S+:\d+$": mark('"host:port"'),
    r"^/": mark("a whole path, which begins with /"),
    r"^[1-9][0-9]{0,4}[smh]$": mark('a time such as "5s", "10m" or "2h"'),
    r"^\S+( \S+){4}$": mark('a cron expression such as "*/5 8-18 * * mon-fri"'),
    r"^(([01][0-9]|2[0-3]):[0-5][0-9]|\S+( \S+){4})$": mark(
        'a time of day such as "02:00", or a cron expression such as "0 2 * * sat,sun"'
    ),
    r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$": mark(
        'hours of the day such as "08:30-11:30"'
    ),
    r"^[^.]+\.[^.]+$|^[^.]+$": mark(
        '"schema.table", in its exact spelling, without further quotes'
    ),
}


class Problem(NamedTuple):
    """One problem: where, and what to do. `place` uses dots and [numbers from 0]."""

    place: Place
    text: str  # in the user's language

    def line(self, headers: Mapping[int, int]) -> str:
        """`resource[2].columns: text`; `headers` gives the line of each [[resource]]."""
        where = dotted(self.place)
        match self.place:
            case ("resource", int(number), *_) if number in headers:
                where = translate(
                    mark("{place} (line {line} and after)"), place=where, line=headers[number]
                )
        return f"{where}: {self.text}" if where else self.text


def dotted(place: Place) -> str:
    """The place as people write it: `resource[2].columns`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".")


class Expectations:
    """What the configuration's JSON Schema expects at each place."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def walk(self, place: Place) -> tuple[Place, Schema]:
        """The place without pydantic's marks for the branches of a union, and the schema there."""
        node, path = self._plain(self._schema), list[str | int]()
        for step in place:
            properties = node.get("properties", {})
            kind = self._kind(node, step)
            if kind is not None:
                node = kind
                continue
            if isinstance(step, int) and node.get("type") == "array":
                node = node["items"]
            elif step in properties:
                node = properties[step]
            elif isinstance(node.get("additionalProperties"), Mapping):
                node = node["additionalProperties"]
            elif properties:  # an unknown key
                return (*path, step), {}
            else:
                continue
            path.append(step)
            node = self._plain(node)
        return tuple(path), node

    def _kind(self, node: Schema, step: str | int) -> Schema | None:
        """Returns the branch of a union whose `type` is this, pydantic's mark for it."""
        for branch in node.get("oneOf", ()):
            kind = self._plain(branch)
            types = kind["properties"]["type"]
            if step in types.get("enum", [types.get("const")]):
                return kind
        return None

    def _plain(self, node: Schema) -> Schema:
        """Follows references and leaves out `or null`, which TOML cannot write."""
        while "$ref" in node or any(branch == {"type": "null"} for branch in node.get("anyOf", ())):
            if "$ref" in node:
                node = self._schema["$defs"][node["$ref"].rpartition("/")[2]]
            else:
                branches = [branch for branch in node["anyOf"] if branch != {"type": "null"}]
                node = branches[0] if len(branches) == 1 else {"anyOf": branches}
        return node

    def problem(self, kind: str, place: Place) -> Problem:
        """The problem for one of pydantic's errors."""
        _, parent = self.walk(place[:-1])
        place, node = self.walk(place)
        if kind == "extra_forbidden":
            return Problem(place, _unknown(str(place[-1]), parent))
        if kind == "missing":
            return Problem(place, translate(MISSING, example=self._example(str(place[-1]), node)))
        return Problem(place, translate(EXPECTED, form=self.form(node)))

    def _example(self, key: str, node: Schema) -> str:
        if "oneOf" in node:
            return f"[{key}]"
        match node.get("type"):
            case "object":
                return f"[{key}]" if "password" not in key else f'{key} = {{ file = "..." }}'
            case "array" if "properties" in self._plain(node["items"]):
                return f"[[{key}]]"
            case "array":
                return f'{key} = ["..."]'
            case "integer":
                return f"{key} = {node.get('minimum', 1)}"
            case _:
                return f'{key} = "..."'

    def form(self, node: Schema) -> str:  # noqa: PLR0911 - one for each kind
        """The form a value must have, in words."""
        node = self._plain(node)
        if "anyOf" in node:
            return translate(
                mark("one of these: {forms}"),
                forms="; ".join(self.form(branch) for branch in node["anyOf"]),
            )
        if "const" in node or "enum" in node:
            choices = node.get("enum") or [node["const"]]
            return translate(
                mark("one of {choices}"), choices=", ".join(f'"{choice}"' for choice in choices)
            )
        match node.get("type"):
            case "boolean":
                return translate(mark("true or false, without quotes"))
            case "integer" | "number":
                return _number(node)
            case "array":
                return translate(
                    mark("a list [ ... ] with at least {count} of: {form}"),
                    count=node.get("minItems", 0),
                    form=self.form(node["items"]),
                )
            case "object":
                return (
                    translate(
                        mark("a table with the settings {known}"),
                        known=", ".join(node.get("properties", ())),
                    )
                    if node.get("properties")
                    else _names()
                )
        if node.get("pattern") in PATTERNS:
            return translate(PATTERNS[node["pattern"]])
        return (
            translate(mark('text in "quotes", not empty'))
            if node.get("minLength")
            else translate(mark('text in "quotes"'))
        )


def _unknown(key: str, parent: Schema) -> str:
    known = list(parent.get("properties", {}))
    near = difflib.get_close_matches(key, known, n=2, cutoff=0.6)
    if near:
        return translate(UNKNOWN_NEAR, near=", ".join(near))
    return translate(UNKNOWN, known=", ".join(known))


def _names() -> str:
    return translate(mark('a table of names: { source_column = "other_name" }'))


def _number(node: Schema) -> str:
    low, above, high = node.get("minimum"), node.get("exclusiveMinimum"), node.get("maximum")
    values = {"low": low if low is not None else above, "high": high}
    whole = node["type"] == "integer"
    if values["low"] is None:
        return translate(mark("a whole number, without quotes"))
    if high is None:
        return translate(
            mark("a whole number above {low}, without quotes")
            if whole
            else mark("a number above {low}, without quotes"),
            **values,
        )
    if low is None:
        return translate(mark("a number above {low} and up to {high}, without quotes"), **values)
    return translate(
        mark("a whole number from {low} to {high}, without quotes")
        if whole
        else mark("a number from {low} to {high}, without quotes"),
        **values,
    )
