"""Where the records of a transaction end is foreseen from what is known."""

from agent.publish.ends import Ends

ORDERS, ITEMS = ("p.orders", 0), ("p.items", 2)


def test_records_follow_what_is_known() -> None:
    """First what the cluster has described, then the last transaction and its marker."""
    ends = Ends()
    ends.found(ORDERS, 7)
    ends.sent([ORDERS, ITEMS, ORDERS])
    ends.sent([ORDERS])
    assert ends.foreseen() == {ORDERS: 10, ITEMS: 1}
    ends.visible({ORDERS: 10, ITEMS: 1})
    assert ends.foreseen() == {}
    ends.sent([ORDERS])
    assert ends.foreseen() == {ORDERS: 12}


def test_a_transaction_that_ended_elsewhere_corrects_what_is_known() -> None:
    """Somebody else has written between."""
    ends = Ends()
    ends.found(ORDERS, 0)
    ends.sent([ORDERS])
    ends.visible({ORDERS: 31})
    ends.sent([ORDERS, ORDERS])
    assert ends.foreseen() == {ORDERS: 34}
