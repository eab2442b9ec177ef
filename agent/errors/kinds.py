"""What every error is, and the three kinds of errors."""

from enum import StrEnum
from typing import ClassVar

from agent.messages import mark, plain, recalled, translate

EX_TEMPFAIL = 75  # sysexits.h: another agent is at work
EX_CONFIG = 78  # sysexits.h: systemd does not restart (RestartPreventExitStatus)


class Directive(StrEnum):
    """What the service does after an error."""

    RETRY = "retry"
    SUSPEND = "suspend"
    HALT = "halt"


class AgentError(Exception):
    """An error with a code, a directive, a sentence for the operator and the next step.

    `summary` and `hint` are catalogue messages with `{names}`; the keyword arguments fill them.
    """

    code: ClassVar[str] = "INTERNAL"
    directive: ClassVar[Directive] = Directive.HALT
    exit_code: ClassVar[int] = EX_CONFIG
    summary: ClassVar[str] = mark("The agent met something it does not know: {detail}")
    hint: ClassVar[str] = mark(
        "Keep the log and report it; nothing was lost, the agent goes on from its stored position "
        "when started again."
    )

    def __init__(self, **values: object) -> None:
        # What fills summary and hint. A sentence among them is a `phrase`: it is translated, too.
        self.values = {name: recalled(value) for name, value in values.items()}
        super().__init__(f"{self.code}: {self.text('en')}")

    def plain_values(self) -> dict[str, object]:
        """Returns the values as JSON can hold them; `stored` makes the error of them again."""
        return {name: plain(value) for name, value in self.values.items()}

    def text(self, lang: str | None = None) -> str:
        """Returns the sentence in the user's language, without the code."""
        return translate(self.summary, lang, **self.values)

    def advice(self, lang: str | None = None) -> str:
        """Returns the next step in the user's language."""
        return translate(self.hint, lang, **self.values)

    def full_text(self, lang: str | None = None) -> str:
        """Returns all of it, as commands show it: code, sentence, next step."""
        return f"{self.code}: {self.text(lang)}\n  → {self.advice(lang)}"


class Retry(AgentError):
    """A peer is away or busy: back off and try again, for ever."""

    directive = Directive.RETRY
    # Seconds before the second attempt; they double up to the longest
    first_wait: ClassVar[float] = 0.1
    longest_wait: ClassVar[float] = 3.0


class Suspend(AgentError):
    """One table cannot go on; `resource` names it."""

    directive = Directive.SUSPEND

    def __init__(self, *, resource: str, **values: object) -> None:
        self.resource = resource
        super().__init__(resource=resource, **values)


class Halt(AgentError):
    """The promise cannot be kept without a person: exit 78."""
