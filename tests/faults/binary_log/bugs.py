"""Lists the planted bugs of the reader of a binary log. See tests/faults/bugs.py."""

from tests.faults.planting import Bug, Edit

SOURCE = "connectors/mysql/source.py"
TRANSACTIONS = "connectors/mysql/transactions.py"

OF_A_LOG: tuple[Bug, ...] = (
    Bug(
        "restart_at_the_end_of_the_log",
        "a new connection asks for what is written from then on, and not from where it was left",
        (
            Edit(
                SOURCE,
                """\
            place = history.place_of(resume, found)
""",
                """\
            place = history.place_of(resume, found)
            place.gtids = server.executed(self._opened, found)
""",
            ),
        ),
        "log",
    ),
    Bug(
        "description_of_one_event",
        "the description of a table is forgotten with the first event of rows behind it",
        (
            Edit(
                TRANSACTIONS,
                """\
        self._touched = reading.place
        size =""",
                """\
        del self._readings[head.table_id]
        self._touched = reading.place
        size =""",
            ),
        ),
        "log",
    ),
    Bug(
        "place_one_behind",
        "the place that is stored with a transaction is the one before it",
        (
            Edit(
                TRANSACTIONS,
                """\
        self._is_open = False
        if gtid is not None:
""",
                """\
        self._is_open = False
        token = self.place.token
        if gtid is not None:
""",
            ),
            Edit(
                TRANSACTIONS,
                "yield Commit(number, self.position, self._time_us, self.place.token)",
                "yield Commit(number, self.position, self._time_us, token)",
            ),
        ),
        "log",
    ),
    Bug(
        "first_transaction_of_a_file",
        "what begins near the begin of a file is taken for the head that every file has",
        (
            Edit(
                TRANSACTIONS,
                """\
        if reading is None:
            return

        try:
""",
                """\
        if reading is None or self._begun_at.offset < 512:
            return

        try:
""",
            ),
        ),
        "log",
    ),
    Bug(
        "description_outlives_a_definition",
        "rows are read by the first description of their table, whatever statement has changed it",
        (
            Edit(
                TRANSACTIONS,
                "        self._readings: dict[int, Reading | None] = {}\n",
                "        self._readings: dict[int, Reading | None] = {}\n"
                "        self._by_place: dict[TableName, Reading] = {}\n",
            ),
            Edit(
                TRANSACTIONS,
                "        self._readings[table_id] = self._reading(table, relation)\n",
                "        read = self._reading(table, relation)\n"
                "        self._readings[table_id] = self._by_place.setdefault(read.place, read)\n",
            ),
            Edit(
                TRANSACTIONS,
                "            is_named = names_table(statement, table, session_schema)\n",
                "            is_named = False\n",
            ),
        ),
        "log",
    ),
    Bug(
        "one_snapshot_for_all_pages",
        "every page is read in the snapshot of the first one, while the stream goes on",
        (
            Edit(
                SOURCE,
                """\
            snapshot = open_snapshot(self._opened, self._known_server)
        try:
            if not snapshot.shows(stream.place.gtids):
""",
                """\
            snapshot = self._kept = self._kept or open_snapshot(self._opened, self._known_server)
        try:
            if self._kept is None:
""",
            ),
            Edit(
                SOURCE,
                """\
        finally:
            with self._database.guarded():
                snapshot.end()
        failpoints""",
                """\
        finally:
            self._look_at = 0.0
        failpoints""",
            ),
            Edit(
                SOURCE,
                "        self._waiting: list[Message] = []\n",
                "        self._waiting: list[Message] = []\n"
                "        self._kept: Snapshot | None = None\n",
            ),
        ),
        "log",
    ),
    Bug(
        "truncate_of_the_session_database",
        "TRUNCATE of a table that is named without its database is passed over",
        (
            Edit(
                TRANSACTIONS,
                "        place = (schema or session_schema, name)\n",
                "        place = (schema, name)\n",
            ),
        ),
        "log",
    ),
    Bug(
        "update_forgets_its_old_key",
        "of an update the row before it is left out, and with it a key that has changed",
        (
            Edit(
                TRANSACTIONS,
                """\
                head.op,
                before,
""",
                """\
                head.op,
                None if head.op == types.UPDATE else before,
""",
            ),
        ),
        "log",
    ),
    Bug(
        "compressed_rows_passed_over",
        "rows that the server has compressed are passed over like an event without rows",
        (
            Edit(
                TRANSACTIONS,
                "        if event.type in types.ROWS:\n",
                "        if event.type in types.ROWS and not types.ROWS[event.type][2]:\n",
            ),
        ),
        "log",
    ),
)
