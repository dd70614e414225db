"""Regular expressions that a person gives: which of them `re` could search for hours."""

from __future__ import annotations

import re

#: One character or a set of them, however it is written.
_ONE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
#: An innermost group, without what says its kind: ``(?:``, ``(?=``, ``(?P<name>``.
_GROUP = re.compile(r"\((?:\?[^()]*?[:=!>])?([^()]*)\)")
_REPEAT = re.compile(r"[*+{]")

#: `re` tries every way to share a text out among repeats in a row: of a name of 60 letters there
#: are 8 million among five, a tenth of a second, and 600 million among seven.
MOST_REPEATS = 5


def endless(expression: str) -> bool:
    r"""Return whether a valid expression repeats a group, or more than five things in a row.

    A repeat within a repeat has `re` try a number of ways that doubles with every letter.

    Examples
    --------
    >>> endless(r".*\.(q|v)_proj"), endless("(a+)+b"), endless(".*a.*a.*a.*a.*a.*a")
    (False, True, True)
    """
    rest = _ONE.sub("x", expression)
    while group := _GROUP.search(rest):
        if _REPEAT.match(rest, group.end()):
            return True
        rest = f"{rest[: group.start()]}x{'*' * _in_a_row(group[1])}{rest[group.end() :]}"
    return _in_a_row(rest) > MOST_REPEATS


def _in_a_row(expression: str) -> int:
    return max(len(_REPEAT.findall(choice)) for choice in expression.split("|"))
