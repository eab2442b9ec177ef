"""Tables as a source would show them, made of a few words."""

from collections.abc import Sequence

from hypothesis import strategies as st

from agent.connectors.discovery import FoundColumn, FoundTable
from agent.connectors.table import SourceColumn, SourceTable
from agent.values import column_types as v

# Names that a database may have: any characters but NUL and halves of pairs
names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30
)


def column(
    name: str, comment: str = "", *, readable: bool = True, declared: str = "text"
) -> FoundColumn:
    """Returns a column of texts."""
    made = SourceColumn(name, v.TEXT, v.TEXT, "text", builtin=True, not_null=False, generated="")
    return FoundColumn(name, declared, comment, made if readable else None)


def found(
    name: str,
    columns: Sequence[FoundColumn],
    key: Sequence[str] = (),
    *,
    schema: str = "public",
    comment: str = "",
) -> FoundTable:
    """Returns a table with these columns."""
    read = [one.column for one in columns if one.column is not None]
    table = SourceTable(1, schema, name, tuple(read), tuple(key), "d")
    return FoundTable(schema, name, tuple(columns), table, comment)


@st.composite
def tables(draw: st.DrawFn) -> list[FoundTable]:
    """Draws tables of a database: no two have the same name, and no two columns of one have."""
    places = draw(
        st.lists(st.tuples(st.sampled_from(["public", "Public", "a.b", "表"]), names), unique=True)
    )
    made = []
    for schema, name in places:
        listed = draw(st.lists(names, min_size=1, max_size=6, unique=True))
        comments = draw(st.lists(st.text(max_size=20), min_size=6, max_size=6))
        readable = draw(st.lists(st.booleans(), min_size=6, max_size=6))
        columns = [
            column(*pair, readable=can)
            for pair, can in zip(zip(listed, comments, strict=False), readable, strict=False)
        ]
        key = [one.name for one in columns if one.column is not None][:1]
        if not draw(st.booleans()):
            key = []
        made.append(found(name, columns, key, schema=schema, comment=draw(st.text(max_size=20))))
    return made
