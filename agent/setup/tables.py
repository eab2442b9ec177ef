"""Asks which tables are shared, and of each its columns, its name, and how changes are found."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agent.config import Settings
from agent.connectors.discovery import Discovery, FoundTable
from agent.connectors.setup import Shareable
from agent.errors import AgentError, AnswerMissing
from agent.findings import Finding, failed
from agent.messages import mark, phrase, translate
from agent.setup.blocks import one_line
from agent.setup.cursors import COMPARED_AT
from agent.setup.dialogue import Dialogue, Question, Refused, filled, refused_for
from agent.setup.listing import listing
from agent.setup.patterns import matching, split
from agent.setup.proposals import Proposal, Proposals

_MANY = 10  # tables of which each is asked about, unless somebody wants it otherwise
_ALL = "all"


class Tables:
    """Asks for the tables of one source."""

    def __init__(self, dialogue: Dialogue, discovery: Discovery, settings: Settings) -> None:
        """`settings` have the source."""
        self._dialogue = dialogue
        self._discovery = discovery
        self._place = settings.source.place
        self._polled = settings.source.type == "polling"
        given = dialogue.answers.resources()
        self._given = {self._place(one["table"]): one for one in given}

    def choose(self) -> list[Proposal]:
        """Returns the tables to share, each with its settings decided."""
        proposals = self._dialogue.settled(self._found)
        chosen = self._dialogue.settled(lambda: self._chosen(proposals))
        each = len(chosen) <= _MANY or self._dialogue.confirm(
            "each",
            translate(mark("Go through the {count} tables one by one?"), count=len(chosen)),
            default=False,
        )
        decided = []
        for proposal in chosen:
            decided.append(self._decided(proposal, asked=each))
        return decided

    # ---- which tables

    def _found(self) -> list[Proposal]:
        """Asks for patterns, and returns every table that fits one or was named."""
        default_schema = self._place("table")[0]
        default = f"{default_schema}.*" if default_schema else "*"
        patterns: Sequence[str] = ()
        if self._dialogue.given("tables") is not None or not self._given:
            text = translate(mark("Tables, by patterns such as {example}"), example=default)
            patterns = self._dialogue.ask(Question("tables", text, default), split)

        fits = matching(patterns, default_schema)
        found = self._asked(fits)
        if not found:
            text = mark("no table of {address} fits {patterns}")
            named = ", ".join([*patterns, *[str(one["table"]) for one in self._given.values()]])
            reason = translate(text, address=self._discovery.address, patterns=named)
            raise Refused("tables", reason)

        taken = [one for one in self._given.values() if "name" in one]
        made = Proposals(polled=self._polled, resources=taken)
        proposals = [made.of(table) for table in found]
        self._dialogue.show(listing(proposals, numbered=True))
        return proposals

    def _asked(self, fits: Any) -> list[FoundTable]:
        try:
            return self._discovery.tables(lambda place: fits(place) or place in self._given)
        except AgentError as cause:
            raise refused_for("tables", [failed(cause)]) from None

    def _chosen(self, proposals: Sequence[Proposal]) -> list[Proposal]:
        """Asks which of them are shared; those that were named always are."""
        missing = set(self._given) - {self._place_of(proposal) for proposal in proposals}
        if missing:
            named = ", ".join([".".join(filter(None, place)) for place in sorted(missing)])
            text = translate(mark("there is no table {names}"), names=named)
            raise Refused("resource", text)

        question = Question(
            "choose",
            translate(
                mark(
                    "Which of them: numbers, names or patterns, separated by commas; all: those "
                    "of which nothing has to be decided"
                )
            ),
            _ALL,
        )
        chosen = [one for one in proposals if self._place_of(one) in self._given]
        asked = self._dialogue.asks_each and not self._given
        if asked or self._dialogue.given("choose") is not None:
            read = self._read(self._dialogue.ask(question, split), proposals)
        else:
            read = [one for one in proposals if one.ready]
        chosen += [one for one in read if one not in chosen]

        if not chosen:
            text = mark("none of these tables can be shared as it is")
            raise self._refusal("tables", translate(text), proposals)
        obstacles = [finding for one in chosen for finding in self._obstacles(one)]
        if obstacles:
            raise refused_for("choose", obstacles)
        return sorted(chosen, key=self._place_of)

    def _refusal(self, place: str, reason: str, proposals: Iterable[Proposal]) -> Refused:
        findings = [finding for one in proposals for finding in one.obstacles]
        details = refused_for(place, findings).reason
        return Refused(place, f"{reason}\n{details}".rstrip())

    def _read(self, parts: Sequence[Any], proposals: Sequence[Proposal]) -> list[Proposal]:
        """Reads which tables somebody chooses. Raises Refused."""
        chosen: list[Proposal] = []
        for part in parts:
            fitting = self._meant(str(part), proposals)
            if not fitting and part != _ALL:
                said = mark("{part} is none of these tables")
                raise Refused("choose", translate(said, part=part))
            chosen += [one for one in fitting if one not in chosen]
        return chosen

    def _meant(self, part: str, proposals: Sequence[Proposal]) -> list[Proposal]:
        if part.lower() == _ALL:
            return [one for one in proposals if one.ready]
        if part.isdecimal():
            number = int(part)
            return list(proposals[number - 1 : number]) if number else []
        fits = matching([part], self._place("table")[0])
        return [one for one in proposals if fits(self._place_of(one))]

    def _place_of(self, proposal: Proposal) -> tuple[str, str]:
        return self._place(proposal.found.full_name)

    def _obstacles(self, proposal: Proposal) -> list[Finding]:
        """Returns what stands in the way, but for a key that the configuration can name."""
        if not self._polled:
            return list(proposal.obstacles)
        return [finding for finding in proposal.obstacles if finding.code != "KEY_MISSING"]

    # ---- what of each

    def _decided(self, proposal: Proposal, *, asked: bool) -> Proposal:
        return self._dialogue.settled(lambda: self._decide(proposal, asked=asked))

    def _decide(self, proposal: Proposal, *, asked: bool) -> Proposal:
        """Returns the settings of one table: given ones first, then what a person says."""
        given = dict(self._given.get(self._place_of(proposal), {}))
        settings = {**proposal.settings, **given, "table": proposal.found.full_name}
        interactive = asked and self._dialogue.asks_each
        if not interactive and not self._dialogue.defaults:
            self._insist(proposal, given)

        if "columns" in given:
            self._check_columns(proposal, settings["columns"])
        elif interactive:
            settings["columns"] = self._columns(proposal)
        if "name" not in given and interactive:
            settings["name"] = self._name(proposal)
        if self._polled:
            settings["poll"] = self._poll(proposal, given, interactive=interactive)

        shared = set(settings["columns"])
        guessed = {name: kind for name, kind in proposal.guessed.items() if name not in shared}
        return proposal._replace(settings=settings, guessed=guessed, personal_key={}, obstacles=())

    def _insist(self, proposal: Proposal, given: Mapping[str, Any]) -> None:
        """Raises AnswerMissing where nobody has said which columns of a table are shared."""
        if "columns" not in given and not self._dialogue.asks_each:
            text = mark("the columns of {table}, as [[resource]]")
            raise AnswerMissing(question=phrase(text, table=proposal.found.full_name))

    def _check_columns(self, proposal: Proposal, columns: Any) -> None:
        known = {column.name for column in proposal.found.readable}
        listed = columns if isinstance(columns, list) else []
        unknown = [str(name) for name in listed if name not in known]
        if not listed or unknown:
            text = mark("{table}: there is no column {names} that can be shared")
            raise Refused(
                "resource",
                translate(text, table=proposal.found.full_name, names=", ".join(unknown)),
            )

    def _columns(self, proposal: Proposal) -> list[str]:
        """Asks for changes of the columns that are proposed."""
        found = proposal.found
        proposed = list(proposal.settings["columns"])
        text = mark("{table}: shared are {columns}")
        shared = ", ".join(_described(found, proposed))
        self._dialogue.show(translate(text, table=found.full_name, columns=shared))
        if proposal.personal_key:
            text = mark("  its key seems to hold personal data, and is in every event: {columns}")
            self._dialogue.show(translate(text, columns=_kinds(proposal.personal_key)))
        if proposal.guessed:
            text = mark("  left out, they seem to hold personal data: {columns}")
            self._dialogue.show(translate(text, columns=_kinds(proposal.guessed)))

        text = translate(mark("  +COLUMN shares one more, -COLUMN one less; Enter: as it is"))
        place = f"resource.{found.full_name}.columns"
        return self._dialogue.ask(
            Question(place, text, ""), lambda answer: _changed(found, proposed, answer)
        )

    def _name(self, proposal: Proposal) -> str:
        place = f"resource.{proposal.found.full_name}.name"
        text = translate(mark("  Name of the resource, part of its topic's name"))
        return self._dialogue.ask(Question(place, text, proposal.settings["name"]), _resource_name)

    def _poll(
        self, proposal: Proposal, given: Mapping[str, Any], *, interactive: bool
    ) -> dict[str, Any]:
        """Returns how changes are found, and a key where the table has none."""
        poll = dict(given.get("poll") or proposal.settings["poll"])
        if "poll" not in given and interactive:
            poll = self._mode(proposal, poll)
        if poll.get("key") or proposal.found.key:
            if not poll.get("key"):
                poll.pop("key", None)
            return poll

        place = f"resource.{proposal.found.full_name}.key"
        text = translate(mark("  It has no key: columns that together name a row"))
        poll["key"] = self._dialogue.ask(
            Question(place, text), lambda answer: _key(proposal.found, answer)
        )
        return poll

    def _mode(self, proposal: Proposal, poll: Mapping[str, Any]) -> dict[str, Any]:
        place = f"resource.{proposal.found.full_name}.poll"
        text = translate(
            mark("  Changes are found by: timestamp COLUMN, sequence COLUMN, or compare")
        )
        default = " ".join(filter(None, [poll["mode"], poll.get("column")]))
        return self._dialogue.ask(
            Question(place, text, default), lambda answer: _poll_of(proposal.found, answer)
        )


def shareable(settings: Settings, proposals: Sequence[Proposal]) -> dict[str, Shareable]:
    """Returns the tables by resource, as the source would have them after `init`."""
    found = {}
    for resource, proposal in zip(settings.resource, proposals, strict=True):
        table = proposal.found.table
        if resource.poll is not None and resource.poll.key:
            table = table._replace(key=tuple(resource.poll.key))
        found[resource.name] = Shareable(table, None)
    return found


def _described(found: FoundTable, names: Sequence[str]) -> list[str]:
    """Returns columns with their comments, where they have one."""
    comments = {column.name: column.comment for column in found.columns}
    described = []
    for name in names:
        comment = one_line(comments.get(name, ""))
        described.append(f"{one_line(name)} ({comment})" if comment else one_line(name))
    return described


def _kinds(guesses: Mapping[str, str]) -> str:
    return ", ".join([f"{one_line(name)} ({translate(kind)})" for name, kind in guesses.items()])


def _changed(found: FoundTable, proposed: Sequence[str], answer: str) -> list[str]:
    """Returns the columns with what is added and taken out. Raises ValueError."""
    known = [column.name for column in found.readable]
    chosen = set(proposed)
    for part in split(answer):
        sign, name = part[0], part[1:]
        if sign not in "+-" or name not in known:
            text = mark("{part}: write + or - and one of {names}")
            raise ValueError(translate(text, part=part, names=", ".join(known)))
        if sign == "-" and name in found.key:
            text = mark("{name} is in the key, which is always shared")
            raise ValueError(translate(text, name=name))
        if sign == "+":
            chosen.add(name)
        else:
            chosen.discard(name)
    if not chosen:
        raise ValueError(translate(mark("Something has to stand here.")))
    return [name for name in known if name in chosen]


def _resource_name(answer: str) -> str:
    name = filled(answer)
    usable = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    if not usable or len(name) > 40:
        raise ValueError(translate(mark("a name of at most 40 letters, digits, - and _")))
    return name


def _key(found: FoundTable, answer: str) -> list[str]:
    names = split(answer)
    known = [column.name for column in found.readable]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        text = mark("{names}: not among the columns {known}")
        raise ValueError(translate(text, names=", ".join(unknown), known=", ".join(known)))
    return names


def _poll_of(found: FoundTable, answer: str) -> dict[str, Any]:
    """Reads a mode and its column. Raises ValueError."""
    mode, *names = split(answer) or [""]
    if mode == "compare" and not names:
        return {"mode": "compare", "compare": COMPARED_AT}
    known = [column.name for column in found.readable]
    if mode in ("timestamp", "sequence") and len(names) == 1 and names[0] in known:
        return {"mode": mode, "column": names[0], "compare": COMPARED_AT}
    text = mark("Write timestamp or sequence and one of {names}, or compare.")
    raise ValueError(translate(text, names=", ".join(known)))
