"""The damage that is done to the front end by hand; every unit has rows that it can be done to."""

from collections.abc import Mapping

from tests.checker.front import at_front
from tests.checker.table import Front

# By resource: what is done to the front end, and what `verify` must find afterwards (missing,
# different, extra).
DAMAGE: Mapping[str, tuple[str, tuple[int, int, int]]] = {
    "residents": ('DELETE FROM "居民" WHERE "编号" BETWEEN -7 AND -1', (7, 0, 0)),
    "enterprises": (
        """UPDATE "企业" SET "名称" = '被人改动' WHERE "统一社会信用代码"
        BETWEEN '913200000000000004' AND '913200000000000009'""",
        (0, 5, 0),
    ),
    "documents": (
        """INSERT INTO "文书" ("文书号", "标题", "版次")
        VALUES (-900001, '伪造', 1), (-900002, '伪造', 1), (-900003, '伪造', 1)""",
        (0, 0, 3),
    ),
}


def damage(front: Front) -> None:
    """Changes the front end by hand, as somebody may do."""
    for resource, (statement, found) in DAMAGE.items():
        changed = at_front(front, statement)
        assert changed == [(sum(found),)], f"{resource}: {changed}"
