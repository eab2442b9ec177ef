"""Holds what the simulated parts share: an oracle that speaks, and state machines run by a seed."""

import sys

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

STEPS = 50  # of one run, at the most


class Violated(AssertionError):
    """An oracle (docs/RELIABILITY.md) speaks against the agent."""

    def __init__(self, oracle: str, what: str) -> None:
        self.oracle = oracle
        super().__init__(f"{oracle}: {what}")


def failing() -> bool:
    """Tells in a machine's teardown whether the run ends by an error.

    Then nothing more is to be asked of it.
    """
    return sys.exc_info()[0] is not None


def simulate(machine: type[RuleBasedStateMachine], runs: int, seed: int | None = None) -> None:
    """Runs the machine so often, always in the same way, in another way with each seed.

    Raises what it raises, after the smallest steps that lead there (with a seed: after the first
    that were found).
    """
    phases = [Phase.generate] if seed is not None else [Phase.generate, Phase.shrink]
    settings = hypothesis.settings(
        max_examples=runs,
        stateful_step_count=STEPS,
        database=None,
        derandomize=seed is None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        print_blob=seed is None,
    )
    run_state_machine_as_test(
        machine if seed is None else hypothesis.seed(seed)(machine), settings=settings
    )
