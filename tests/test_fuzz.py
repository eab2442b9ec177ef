"""Runs every fuzz target shortly on its seeds, cut, changed and joined at random.

`make fuzz` goes deeper.
"""

import random

import pytest

from tests.fuzz.targets import TARGETS

RUNS = {"http": 60, "config": 250}
USUAL = 4000


def mutated(chance: random.Random, seeds: tuple[bytes, ...]) -> bytes:
    """Returns a seed after a few changes."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(data))
        match chance.randrange(5):
            case 0:
                del data[at : at + chance.randint(1, 9)]
            case 1:
                data[at:at] = chance.randbytes(chance.randint(1, 5))
            case 2:
                data[at : at + 1] = bytes([chance.choice((0, 1, 127, 128, 255, 34, 39, 92, 10))])
            case 3:
                other = chance.choice(seeds)
                data[at:] = other[chance.randint(0, len(other)) :]
            case _:
                data[at:at] = data[at : at + chance.randint(1, 30)]
    return bytes(data)


@pytest.mark.parametrize("name", list(TARGETS))
def test_no_bytes_are_met_with_a_fault(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Nor with a word on stderr, which is the log."""
    target, seeds = TARGETS[name]
    chance = random.Random(name)
    for seed in (b"", *seeds):
        target(seed)
    for _ in range(RUNS.get(name, USUAL)):
        data = mutated(chance, seeds)
        try:
            target(data)
        except Exception as error:
            raise AssertionError(f"{name} with {data!r}") from error
    assert capfd.readouterr().err == ""
