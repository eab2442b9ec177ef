"""Lists the planted bugs: copies of the product with one deliberate mistake each.

Copies are made when a test asks for one (tests/faults/planting.py), and never shipped.

Each is the mistake a tired programmer could make here, small, and harmless as long as nothing fails
at the wrong moment or (where it says so) always there. A judge that does not find them proves
nothing about the product.
"""

from tests.faults.binary_log.bugs import OF_A_LOG
from tests.faults.planting import Bug, Edit

BUGS: tuple[Bug, ...] = (
    Bug(
        "ack_before_commit",
        "the source is told that it may forget before the front end has committed",
        (
            Edit(
                "capture/loop.py",
                """\
        self._front.commit(progress)
        self._reconciler.applied(progress.transactions)
        rule.committed(time.monotonic() - started)
        failpoints.hit("before_ack_send")
        self._source.acknowledge(position_number(progress.position))
""",
                """\
        self._source.acknowledge(position_number(progress.position))
        self._front.commit(progress)
        self._reconciler.applied(progress.transactions)
        rule.committed(time.monotonic() - started)
        failpoints.hit("before_ack_send")
""",
            ),
        ),
    ),
    Bug(
        "position_apart",
        "rows, outbox and counters are committed first, the position in a second transaction",
        (
            Edit(
                "front/store.py",
                """\
        with self.guarded():
            moved = self.connection.execute(statements.move, of_before | now)
""",
                """\
        with self.guarded():
            state = self.own.state
            self.connection.execute(
                update(state)
                .where(state.c.epoch == self.epoch)
                .values(number=progress.number, batch=progress.batch)
            )
            of_before["of_batch"] = progress.batch
            for name, (seq, time_us) in progress.seqs.items():
                counter = {"of_name": name, "seq": seq, "event_time_us": time_us}
                self.connection.execute(statements.count, counter)
            self.connection.commit()
            moved = self.connection.execute(statements.move, of_before | now)
""",
            ),
        ),
    ),
    Bug(
        "state_record_apart",
        "the state record follows its events in a Kafka transaction of its own",
        (
            Edit(
                "publish/relay.py",
                """\
        failpoints.hit("before_state_record")
        foreseen = with_offsets""",
                """\
        self.producer.commit(began + self.timeout)
        self.producer.begin()
        failpoints.hit("before_state_record")
        foreseen = with_offsets""",
            ),
        ),
    ),
    Bug(
        "seq_apart",
        "the counter `seq` is stored after the front-end transaction, in one of its own",
        (
            Edit(
                "front/store.py",
                """\
            for name, (seq, time_us) in progress.seqs.items():
                counter = {"of_name": name, "seq": seq, "event_time_us": time_us}
                self.connection.execute(statements.count, counter)
            if progress.transactions""",
                """\
            if progress.transactions""",
            ),
            Edit(
                "front/store.py",
                """\
            failpoints.hit("after_front_commit")
""",
                """\
            failpoints.hit("after_front_commit")
            for name, (seq, time_us) in progress.seqs.items():
                counter = {"of_name": name, "seq": seq, "event_time_us": time_us}
                self.connection.execute(statements.count, counter)
            self.connection.commit()
""",
            ),
        ),
    ),
    Bug(
        "last_transaction_dropped",
        "the transaction that no longer fits into a full batch is taken from the queue "
        "and forgotten",
        (
            Edit(
                "publish/relay.py",
                """\
            if events > self.pace.events or size > self.pace.bytes:
                return state, unit.covered
""",
                """\
            if events > self.pace.events or size > self.pace.bytes:
                self.units.take()
                return state, unit.covered
""",
            ),
        ),
    ),
    Bug(
        "toast_as_null",
        "a large value that the log leaves out because it did not change becomes NULL",
        (
            Edit(
                "capture/row_changes.py",
                "return filled(after, base)",
                "return tuple([None if value is UNCHANGED else value for value in after])",
            ),
        ),
    ),
    Bug(
        "key_change_without_tombstone",
        "the old key of a row whose key changes gets its delete, but no tombstone",
        (
            Edit(
                "outbox/writer.py",
                'tombstone=op == b"d"',
                'tombstone=op == b"d" and not new_key',
            ),
        ),
    ),
    Bug(
        "recovery_without_state",
        "a recovering publisher goes on from the front end's published mark, "
        "not from Kafka's state record",
        (
            Edit(
                "publish/relay.py",
                """\
        # Both are read after the event, for whoever deletes the event moves the mark.
        identity, mark = self.reader.identity(), self.reader.published()
""",
                """\
        identity, mark = self.reader.identity(), self.reader.published()
        before = before._replace(
            number=mark.number,
            event=mark.event_id,
            position=mark.position,
            time_us=mark.time_us,
            part=0,
        )
        event = self.reader.event_id(before.number, identity.source_id)
""",
            ),
        ),
    ),
    Bug(
        "watermarks",
        "a page is read as soon as its window is open, "
        "whether its snapshot sees what was applied by then or not",
        (
            Edit(
                "connectors/postgres/snapshot.py",
                "return past_barrier and all(self.sees(xid) for xid in ask.must_see)",
                "return past_barrier",
            ),
        ),
        "model",
    ),
    Bug(
        "xids_forgotten",
        "what was applied, and may not be visible yet, is forgotten in a crash",
        (
            Edit(
                "capture/loop.py",
                "            stored.transactions,\n            self._tables.unsettled,\n",
                "            (),\n            self._tables.unsettled,\n",
            ),
        ),
        "model",
    ),
    Bug(
        "midway_window",
        "a window may open inside a source transaction, which does not count as applied",
        (
            Edit(
                "capture/loop.py",
                "            if rule.clear and not self._outdated:\n",
                "            clear = rule.clear or bool(self._reconciler.runs)\n"
                "            if clear and not self._outdated:\n",
            ),
        ),
        "model",
    ),
    Bug(
        "windows_exchanged",
        "of tables that are read together, the changes of all are remembered for the first one",
        (
            Edit(
                "capture/reconciler.py",
                """\
            self._applier.windows[page.run.resource.name] = page.window
""",
                """\
            counts = isinstance(page.window, Count) or isinstance(pages[0].window, Count)
            window = page.window if counts else pages[0].window
            self._applier.windows[page.run.resource.name] = window
""",
            ),
        ),
        "model",
    ),
    Bug(
        "late_window",
        "of tables that are read together, only the first has a window before the pages are read",
        (
            Edit(
                "capture/reconciler.py",
                """\
            self._source.page()  # raises what its reader has met
""",
                """\
            if self._source.page() is not None:
                for late in self._asked.pages:
                    self._applier.windows[late.run.resource.name] = late.window
""",
            ),
            Edit(
                "capture/reconciler.py",
                """\
        for page in pages:
            self._applier.windows[page.run.resource.name] = page.window
""",
                """\
        self._applier.windows[pages[0].run.resource.name] = pages[0].window
""",
            ),
        ),
        "model",
    ),
    Bug(
        "incomplete_without_hole",
        "a change that lacks values, with no row to take them from, is left out "
        "and nothing is noted",
        (
            Edit(
                "capture/row_changes.py",
                """\
        if hole and new_key is not None:
            events.note_hole(new_key)
""",
                "",
            ),
        ),
        "model",
    ),
    Bug(
        "mark_apart",
        "the mark of a copy is moved in a transaction of its own, "
        "before the one that holds the page's rows",
        (
            Edit(
                "capture/reconciler.py",
                """\
        self._merge(run, window, page)
""",
                """\
        if run.repair and run.copy.phase == PAGES and page.lines:
            mark = last_key(run.resource, page)
            self._front.start_copy(run.resource.name, run.copy._replace(mark=mark))
            self._front.begin()
        self._merge(run, window, page)
""",
            ),
            Edit(  # so that it is only the mark: what came before is committed
                "capture/loop.py",
                "if rule.due(more_waits=True, now=now):",
                "if rule.due(more_waits=not self._reconciler.runs, now=now):",
            ),
        ),
    ),
    Bug(
        "transaction_in_two",
        "rows are committed every three messages, be it within a source transaction; "
        "outbox and position come with the last of them",
        (
            Edit("capture/applier.py", "FLUSH_MESSAGES = 4_000", "FLUSH_MESSAGES = 3"),
            Edit(
                "capture/applier.py",
                """\
            self.flush()

    def progress""",
                """\
            self.flush()
            self._front.connection.commit()

    def progress""",
            ),
        ),
    ),
    Bug(
        "filter_left_without_delete",
        "an update after which the filter keeps a row back is passed over, "
        "as if the row had never been shared",
        (
            Edit(
                "capture/row_changes.py",
                "if old_key is not None and shared and (after is None or new_key != old_key):",
                "if old_key is not None and shared and (new_key is None or new_key != old_key):",
            ),
        ),
        "model",
    ),
    Bug(
        "ack_on_keepalive",
        "the answer to a keepalive confirms what the server says it has sent",
        (
            Edit(
                "connectors/postgres/wire.py",
                "            self._send(answer)\n",
                "            self._send(answer and Status(end, answer.ask))\n",
            ),
        ),
        "simulation",
    ),
    Bug(
        "resumed_at_the_slot",
        "after a new connection whatever the slot sends again is taken for new, "
        "though the front end may have it",
        (
            Edit(
                "connectors/postgres/history.py",
                "self._applied = position_number(resume.position)",
                "self._applied = confirmed",
            ),
        ),
        "simulation",
    ),
    Bug(
        "unanswered_end_taken_for_done",
        "a Kafka transaction whose end was not answered counts as visible, "
        "and its producer is used again",
        (
            Edit(
                "publish/relay.py",
                """\
        self.producer.commit(began + self.timeout)
        failpoints""",
                """\
        try:
            self.producer.commit(began + self.timeout)
        except Retry as error:
            self.control.retry(error)
        failpoints""",
            ),
        ),
        "simulation",
    ),
    Bug(
        "batch_done_too_early",
        "a batch of the outbox counts as published, and may be deleted, "
        "with the first of its transactions",
        (
            Edit(
                "publish/grouping.py",
                "        yield frame, before\n",
                "        yield frame, batch.batch\n",
            ),
        ),
        "simulation",
    ),
    Bug(
        "last_row_of_a_page",
        "a page leaves its last row to the next one, which begins after it",
        (
            Edit(
                "capture/phases.py",
                """\
        lines = page.lines
""",
                """\
        lines = page.lines[:-1] if page.more else page.lines
""",
            ),
        ),
        "model",
    ),
    Bug(
        "parts_numbered_anew",
        "a publisher that starts again within a split transaction numbers its further parts from 2",
        (
            Edit(
                "publish/relay.py",
                "Grouper(before.number, before.part, before",
                "Grouper(before.number, min(before.part, 1), before",
            ),
        ),
        "simulation",
    ),
    Bug(
        "lost_abort_not_made_good",
        "a recovery does not look for aborted transactions whose end the cluster has lost",
        (
            Edit(
                "publish/relay.py",
                "        self.end_aborted(before, unended, found, deadline)\n",
                "",
            ),
        ),
        "simulation",
    ),
    Bug(
        "random_event_id",
        "the id of an event is made up when it is sent",
        (
            Edit(
                "outbox/frames.py",
                """\
        return event_id(source_id, self.commit_position, self.time_us, self.ordinal)
""",
                """\
        return event_id(source_id, time.time_ns(), self.time_us, self.ordinal)
""",
            ),
            Edit("outbox/frames.py", "import struct\n", "import struct\nimport time\n"),
        ),
        "simulation",
    ),
    Bug(
        "cursor_before_rows",
        "with the first part of a look, polling stores the cursor of the whole look",
        (
            Edit(
                "connectors/polling/cursors.py",
                "        kept = cursor._asdict()\n",
                "        kept = Cursor(cursor.to or cursor.at)._asdict()\n",
            ),
            Edit(
                "connectors/polling/cursors.py",
                '        cursors[name]["at"] = cursor.at\n',
                '        cursors[name]["at"] = kept["at"]\n',
            ),
        ),
        "states",
    ),
    Bug(
        "overlap_left_out",
        "a look begins where the last one has ended: what was committed late is passed over",
        (
            Edit(
                "connectors/polling/looks.py",
                "        lowest = earlier_moment(at, self._kind, self._poll.overlap, now)\n",
                "        lowest = at\n",
            ),
        ),
        "states",
    ),
    Bug(
        "equal_times_split",
        "a look that is cut goes on behind the time of its last row, which others may share",
        (
            Edit(
                "connectors/polling/looks.py",
                "self._reader.behind([(column, self._value(str(after[0]))), *parts])",
                "column > self._value(str(after[0]))",
            ),
        ),
        "states",
    ),
    Bug(
        "delivered_taken_for_stored",
        "polling remembers the rows that it has delivered when the front end has lost them",
        (
            Edit(
                "connectors/polling/source.py",
                "        self._looks = {}\n        for",
                "        for",
            ),
            Edit(
                "connectors/polling/source.py",
                "self._looks[resource.name] = looks_of(",
                "self._looks[resource.name] = self._looks.get(resource.name) or looks_of(",
            ),
        ),
        "states",
    ),
    Bug(
        "flag_of_a_changed_row",
        "a row is marked as taken though the application has changed it since it was read",
        (
            Edit(
                "connectors/polling/flags.py",
                "            if stored.get(key) == digest(texts):\n",
                "            if key in stored:\n",
            ),
        ),
        "states",
    ),
    Bug(
        "notes_deleted_early",
        "notes of triggers are deleted when they are delivered, before the front end has the rows",
        (
            Edit(
                "connectors/trigger/source.py",
                "            self._delivered.update(ids)\n",
                "            self._delivered.update(ids)\n"
                "            self.acknowledge(self._position)\n",
            ),
        ),
        "states",
    ),
    Bug(
        "notes_deleted_unread",
        "with the notes that the front end has, those that were written meanwhile are deleted",
        (
            Edit(
                "connectors/trigger/notes.py",
                "delete(self._table).where(self._table.c.id.in_(some))",
                "delete(self._table)",
            ),
        ),
        "states",
    ),
    Bug(
        "key_before_passed_over",
        "of a key that changes, the row under the old one is not looked up",
        (
            Edit(
                "connectors/trigger/notes.py",
                "        for key in (self.key_now, self.key_before):\n",
                "        for key in (self.key_now or self.key_before,):\n",
            ),
        ),
        "states",
    ),
    Bug(
        "pace_of_pages_alone",
        "the rows that looks read count for nothing against the rows per second",
        (
            Edit(
                "connectors/polling/source.py",
                "            self._pace.read(part.read)\n",
                "",
            ),
        ),
        "states",
    ),
    Bug(
        "second_reckoned_from_its_begin",
        "of several readings in a row, the rest after the last one alone is kept",
        (
            Edit(
                "connectors/polling/pace.py",
                "            begin = max(self._monotonic(), self._rest_until)\n",
                "            begin = self._monotonic()\n",
            ),
        ),
        "states",
    ),
    Bug(
        "look_in_quiet_hours",
        "quiet hours keep comparisons and copies waiting, but not looks",
        (
            Edit(
                "connectors/polling/source.py",
                "        elif not wait and self._look_due():\n",
                "        elif not self._pace.rest() and self._look_due():\n",
            ),
        ),
        "states",
    ),
    Bug(
        "deletes_of_an_incomplete_page",
        "what a page does not show is deleted, though the page was cut before it",
        (
            Edit(
                "capture/phases.py",
                "        last = last_key(resource, page) if page.more else None\n",
                "        last = None\n",
            ),
        ),
        "states",
    ),
    *OF_A_LOG,
)


def bug(name: str) -> Bug:
    """Returns the planted bug of that name."""
    return next(bug for bug in BUGS if bug.name == name)
