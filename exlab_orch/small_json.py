"""Small JSON files of ours that somebody may have edited: read strictly, or not at all."""

from __future__ import annotations

import json
from collections.abc import Collection


def texts_of(content: bytes, names: Collection[str], optional: Collection[str] = ()) -> dict[str, str]:
    """The texts of a small JSON object that has exactly these names; ``optional`` ones may be missing or null.

    Raises:
        ValueError: it is anything else.
    """
    try:
        value = json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - what is wrong is the file, not a call
    given = {name: text for name, text in value.items() if text is not None or name not in optional}
    if set(names) - given.keys() or given.keys() - {*names, *optional}:
        raise ValueError("it has other names than expected")
    if not all(isinstance(text, str) for text in given.values()):
        raise ValueError("a value is not text")
    return given
