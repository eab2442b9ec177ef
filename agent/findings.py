"""What a check found.

That is a stable code, a level, a sentence in the user's language and the command or SQL that helps.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from agent.errors import AgentError
from agent.messages import mark, translate

Level = Literal["ok", "warning", "error"]


class Finding(NamedTuple):
    """One finding; `fix` is '' where nothing has to be done.

    SQL in it is for the owner of the database.
    """

    code: str
    level: Level
    message: str
    fix: str = ""


def ok(code: str, message: str, **values: object) -> Finding:
    """Something is as it should be; `message` is a catalogue message."""
    return Finding(code, "ok", translate(message, None, **values))


def warning(code: str, message: str, fix: str = "", **values: object) -> Finding:
    """The agent works, but somebody should know."""
    return Finding(code, "warning", translate(message, None, **values), fix)


def error(code: str, message: str, fix: str = "", **values: object) -> Finding:
    """The agent cannot work, or not as promised, until it is fixed."""
    return Finding(code, "error", translate(message, None, **values), fix)


def failed(cause: AgentError) -> Finding:
    """The finding for an error of the agent's tree."""
    return Finding(cause.code, "error", cause.text(), cause.advice())


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those that stand in the way."""
    return [finding for finding in findings if finding.level == "error"]


def listing(findings: Iterable[Finding]) -> str:
    """Findings as indented lines for an error text: each sentence, then what fixes it."""
    lines: list[str] = []
    for finding in findings:
        lines.append(f"  {finding.code}: {finding.message}")
        lines += [f"      {line}" for line in finding.fix.splitlines()]
    return "\n" + "\n".join(lines)


def to_repair(findings: Iterable[Finding]) -> str:
    """Says in a plan of `init` what has to be repaired before it can be carried out."""
    return translate(mark("   to be repaired first:{findings}"), findings=listing(findings))
