"""Asks questions: answers given beforehand count first, then defaults, then the terminal."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from agent.errors import AnswerMissing, AnswerWrong
from agent.findings import Finding
from agent.messages import mark, translate
from agent.setup.answers import Answers

T = TypeVar("T")


class Terminal(Protocol):
    """Shows texts, and asks a person."""

    def show(self, what: object) -> None:
        """Shows a text, or a table, on lines of its own."""

    def ask(self, text: str, default: str | None, *, hidden: bool) -> str:
        """Asks until there is an answer; Enter alone is the default, where there is one.

        Whoever breaks off ends the command: nothing was written by then.
        """


class Question(NamedTuple):
    """A question; `place` is where its answer stands in the file of answers."""

    place: str
    text: str  # in the user's language
    default: str | None = None  # None: there is none
    hidden: bool = False


class Refused(Exception):
    """An answer that cannot be used. The text says why, in the user's language.

    `place` is the answer's, or the section's of several that do not fit together.
    """

    def __init__(self, place: str, reason: str) -> None:
        self.place = place
        self.reason = reason
        super().__init__(reason)


def refused_for(place: str, findings: Sequence[Finding]) -> Refused:
    """Returns the refusal for findings of a check: each with its code and what fixes it."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.code}: {finding.message}")
        lines += [f"    {line}" for line in finding.fix.splitlines()]
    return Refused(place, "\n".join(lines))


class Dialogue:
    """The questions of one run of `setup`."""

    def __init__(
        self,
        answers: Answers,
        terminal: Terminal,
        *,
        interactive: bool,
        defaults: bool,
    ) -> None:
        """`interactive`: somebody sits at the terminal. `defaults`: each is taken unasked."""
        self.answers = answers
        self.interactive = interactive
        self.defaults = defaults
        self._terminal = terminal
        self._refused: set[str] = set()
        self._questions = 0  # that somebody was asked
        # What was typed before, as the default when it is asked again
        self._typed: dict[str, str] = {}

    def show(self, what: object = "") -> None:
        """Shows a text, or a table."""
        self._terminal.show(what)

    @property
    def asks_each(self) -> bool:
        """Whether a person is asked what has a default."""
        return self.interactive and not self.defaults

    def given(self, place: str) -> Any:
        """Returns an answer given beforehand; None where there is none, or it was refused."""
        return None if self._is_refused(place) else self.answers.at(place)

    def _is_refused(self, place: str) -> bool:
        """Tells whether an answer, or the section that it is in, was refused."""
        return any(f"{place}.".startswith(f"{one}.") for one in self._refused)

    def ask(self, question: Question, parse: Callable[[str], T]) -> T:
        """Returns the answer to a question.

        `parse` makes a value of a text, or raises ValueError with the reason, in the user's
        language, for which it is asked again. Raises AnswerMissing, Refused.
        """
        given = self.given(question.place)
        if given is not None:
            return self._parsed(question, given, parse)

        again = self._is_refused(question.place)
        if self.defaults and question.default is not None and not again:
            return parse(question.default)
        if not self.interactive:
            raise AnswerMissing(question=question.place)
        return self._asked(question, parse)

    def _parsed(self, question: Question, given: Any, parse: Callable[[str], T]) -> T:
        if isinstance(given, int) and not isinstance(given, bool) and parse is not number:
            # A prefix or a name of digits, which an option gives without quotes
            given = str(given)
        if not isinstance(given, str):
            value: T = given  # the settings' own types are tested with all of them
            return value
        try:
            return parse(given)
        except ValueError as error:
            raise Refused(question.place, str(error)) from None

    def _asked(self, question: Question, parse: Callable[[str], T]) -> T:
        default = self._before(question.place) or question.default
        self._questions += 1
        while True:
            text = self._terminal.ask(question.text, default, hidden=question.hidden)
            try:
                value = parse(text)
            except ValueError as error:
                self.show(str(error))
                continue
            if not question.hidden:
                self._typed[question.place] = text
            return value

    def _before(self, place: str) -> str:
        """Returns the answer that was refused, to be mended; '' where there is none."""
        given = self._typed.get(place, self.answers.at(place))
        if isinstance(given, list):
            return ", ".join([str(one) for one in given])
        return str(given) if isinstance(given, str | int) else ""

    def settled(self, step: Callable[[], T]) -> T:
        """Returns what a step of questions yields; what is refused is asked again.

        Raises AnswerWrong where nobody can be asked, or there is nothing to ask.
        """
        while True:
            questions = self._questions
            try:
                return step()
            except Refused as refused:
                unasked = self._questions == questions and refused.place in self._refused
                if not self.interactive or unasked:
                    raise AnswerWrong(question=refused.place, reason=refused.reason) from None
                text = mark("This cannot be used:")
                self.show(f"{translate(text)}\n{refused.reason}\n")
                self._refused.add(refused.place)

    def confirm(self, place: str, text: str, *, default: bool) -> bool:
        """Asks whether or not; nobody is asked who is not there, and the default is taken."""
        if not self.asks_each:
            return default
        question = Question(place, f"{text} (y/n)", "y" if default else "n")
        return self._asked(question, truth)


def truth(text: str) -> bool:
    """Reads yes or no, in either language. Raises ValueError."""
    word = text.strip().lower()
    if word in ("y", "yes", "true", "是", "对", "好"):
        return True
    if word in ("n", "no", "false", "否", "不", "不是"):
        return False
    raise ValueError(translate(mark("Answer y or n.")))


def filled(text: str) -> str:
    """Reads a text that must not be empty. Raises ValueError."""
    if not text.strip():
        raise ValueError(translate(mark("Something has to stand here.")))
    return text.strip()


def one_of(*words: str) -> Callable[[str], str]:
    """Returns what reads one of these words, or its number."""

    def read(text: str) -> str:
        word = text.strip().lower()
        if word.isdecimal() and 1 <= int(word) <= len(words):
            return words[int(word) - 1]
        if word not in words:
            text = mark("Answer one of: {words}.")
            raise ValueError(translate(text, words=", ".join(words)))
        return word

    return read


def number(text: str) -> int:
    """Reads a whole number. Raises ValueError."""
    if not text.strip().isdecimal():
        raise ValueError(translate(mark("Answer a number.")))
    return int(text)
