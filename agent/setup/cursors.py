"""Proposes how the changed rows of a polled table are found."""

import re
from typing import Any

from agent.connectors.discovery import FoundTable

# Names and comments of times that an application sets at each change. A time of creation is none
_UPDATED = re.compile(
    r"upd|modif|chang|last_?time|mtime|utime|gxsj|gxrq|xgsj|xgrq|bgsj|gengxin|xiugai|更新|修改|变更",
    re.IGNORECASE,
)

# Tables to which rows are only added
_APPENDED = re.compile(
    r"(?<![a-z])(log|logs|history|journal|ledger|ls|rz|liushui|rizhi)(?![a-z])|流水|日志|轨迹|明细",
    re.IGNORECASE,
)

COMPARED_AT = "02:00"  # by the host's clock: also finds deletes, and what no look has shown


def proposed_poll(found: FoundTable) -> dict[str, Any]:
    """Returns the settings of [resource.poll].

    That is by a time of the last change that has an index, by the rising number of a table to which
    rows are only added, else by comparison alone.
    """
    for column in found.columns:
        if column.cursor == "timestamp" and _says(_UPDATED, column.name, column.comment):
            return {"mode": "timestamp", "column": column.name, "compare": COMPARED_AT}

    if len(found.key) == 1 and _says(_APPENDED, found.name, found.comment):
        for column in found.columns:
            if column.cursor == "sequence" and column.name == found.key[0]:
                return {"mode": "sequence", "column": column.name, "compare": COMPARED_AT}

    return {"mode": "compare", "compare": COMPARED_AT}


def _says(signs: re.Pattern[str], name: str, comment: str) -> bool:
    return bool(signs.search(name) or signs.search(comment))
