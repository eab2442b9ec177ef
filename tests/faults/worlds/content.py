"""Makes the statements that write a world's table; it needs no server.

They insert rows, change them, and write keys in another spelling.
"""

from random import Random

from psycopg import sql

from tests.faults.worlds.world import Column, World

VALUES = 20_000  # so many different ones a column may get
NULLS = 0.12
# Such a share of the texts is stored apart from their rows, and left out of the log while they do
# not change.
LARGE = 0.04


class Content:
    """Knows the rows that exist, by number.

    For each it knows the mark of the last version, and whether the key is in its second spelling.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._random = Random(f"rows {world.seed}")
        self.marks: dict[int, str] = {}
        self._second: set[int] = set()
        self._next = 0
        self._version = 0
        self.table = sql.Identifier(world.schema, world.table)

    def fill(self) -> list[sql.Composed]:
        """Returns the first rows, in a few statements."""
        numbers = [self._new() for _ in range(self.world.rows)]
        return [self._insert(numbers[start : start + 500]) for start in range(0, len(numbers), 500)]

    def change(self) -> sql.Composed:
        """Returns one change, as an application would make it."""
        deed = self._random.choices(
            (self.insert, self.update, self.delete, self.move, self.respell), (4, 4, 1, 1, 2)
        )[0]
        return deed()

    def insert(self) -> sql.Composed:
        """Inserts a new row."""
        return self._insert([self._new()])

    def update(self) -> sql.Composed:
        """Changes some columns of a row: a large value that stays is not in the log."""
        number, mark = self._any()
        others = self.world.columns[len(self.world.key) : -1]
        changed = self._random.sample(others, self._random.randint(1, len(others)))
        return self._set(number, mark, [(column, self._value(column)) for column in changed])

    def delete(self) -> sql.Composed:
        """Deletes a row."""
        number, mark = self._any()
        del self.marks[number]
        return sql.SQL("DELETE FROM {} WHERE note = {}").format(self.table, sql.Literal(mark))

    def move(self) -> sql.Composed:
        """Moves a row to another key."""
        number, mark = self._any()
        del self.marks[number]
        self._next += 1
        return self._set(self._next - 1, mark, self._key(self._next - 1))

    def respell(self) -> sql.Composed:
        """Writes the key of a row in another spelling where its types have one."""
        number, mark = self._any()
        if not self.spelled:
            return self._set(number, mark, self._key(number))
        self._second ^= {number}
        return self._set(number, mark, self._key(number))

    @property
    def spelled(self) -> bool:
        """Whether the key has values of several spellings."""
        return any(column.of.respelled for column in self.world.key_columns)

    def _new(self) -> int:
        self._next += 1
        return self._next - 1

    def _any(self) -> tuple[int, str]:
        number = self._random.choice(list(self.marks))
        return number, self.marks[number]

    def _mark(self, number: int) -> str:
        """Returns the mark of a new version of a row."""
        self._version += 1
        self.marks[number] = mark = f"{number}-{self._version}"
        return mark

    def _insert(self, numbers: list[int]) -> sql.Composed:
        rows = []
        for number in numbers:
            others = self.world.columns[len(self.world.key) : -1]
            given = [*self._key(number), *((column, self._value(column)) for column in others)]
            values: list[sql.Composable] = [self.typed(column, text) for column, text in given]
            values.append(sql.Literal(self._mark(number)))
            rows.append(sql.SQL("({})").format(sql.SQL(", ").join(values)))
        return sql.SQL("INSERT INTO {} VALUES {}").format(self.table, sql.SQL(", ").join(rows))

    def _set(self, number: int, mark: str, given: list[tuple[Column, str | None]]) -> sql.Composed:
        parts = [
            sql.SQL("{} = {}").format(sql.Identifier(column.name), self.typed(column, text))
            for column, text in given
        ]
        parts.append(sql.SQL("note = {}").format(sql.Literal(self._mark(number))))
        return sql.SQL("UPDATE {} SET {} WHERE note = {}").format(
            self.table, sql.SQL(", ").join(parts), sql.Literal(mark)
        )

    def _key(self, number: int) -> list[tuple[Column, str | None]]:
        found: list[tuple[Column, str | None]] = []
        for column in self.world.key_columns:
            text = column.of.key(number % column.of.bounded)
            if number in self._second and column.of.respelled:
                text = column.of.respelled(text)
            found.append((column, text))
        return found

    def _value(self, column: Column) -> str | None:
        kind, random = column.of, self._random
        if random.random() < NULLS:
            return None
        if kind.name == "text" and random.random() < LARGE:
            return random.randbytes(4500).hex()
        if kind.few and random.random() < 0.8:
            return random.choice(kind.few)[0]
        return kind.key(random.randrange(min(kind.bounded, VALUES)))

    def typed(self, column: Column, text: str | None) -> sql.Composed:
        """Returns a value of a column."""
        return sql.SQL("{}::{}").format(sql.Literal(text), type_of(column, self.world.app))


def type_of(column: Column, app: str) -> sql.Composed:
    """Returns the type of a column, without its collation."""
    return sql.SQL(column.of.type.partition(" COLLATE ")[0]).format(app=sql.Identifier(app))
