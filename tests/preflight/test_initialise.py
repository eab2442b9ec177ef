"""init --apply: makes everything, once, and leaves nothing half."""

from agent.front.opening import open_front
from tests.preflight.conftest import Unit


def test_everything_is_made_and_a_second_run_changes_nothing(any_unit: Unit) -> None:
    any_unit.initialise()
    first = open_front(any_unit.settings).stored_state()
    assert first is not None
    assert first["initialised"] == 1
    assert any_unit.slots() == 1
    position = any_unit.value("select confirmed_flush_lsn::text from pg_replication_slots where database = current_database()")
    assert first["position"] == position
    any_unit.initialise()
    assert open_front(any_unit.settings).stored_state() == first
