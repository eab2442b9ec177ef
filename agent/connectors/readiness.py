"""Says for `init` that a business database is not ready."""

from collections.abc import Iterable

from agent.errors import InitRefused
from agent.findings import Finding, errors, listing
from agent.messages import mark, phrase, translate


def refuse(findings: Iterable[Finding]) -> None:
    """Raises InitRefused with every error among the findings and what fixes it."""
    wrong = errors(findings)
    if wrong:
        text = mark("the business database is not ready:{findings}")
        raise InitRefused(reason=phrase(text, findings=listing(wrong)))


def not_asked(reason: str) -> str:
    """Says in a plan that the database cannot be asked yet, and why."""
    return translate(mark("   it cannot be asked yet: {reason}"), reason=reason)
