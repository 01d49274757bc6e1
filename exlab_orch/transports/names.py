"""Which names a kind of NAS would change, merge or refuse: judged before a byte is copied."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

from exlab_orch.errors import RENAME, NameUnsupported
from exlab_orch.files.delete import PART_PREFIX
from exlab_orch.model import Listing
from exlab_orch.state import short_hash
from exlab_orch.text import count, printable

Kind = Literal["windows", "s3", "posix"]

_SEGMENT_BYTES: Final = 255
_WINDOWS_UNITS: Final = 255
"""UTF-16 units in one name (NTFS and SMB)."""
_KEY_BYTES: Final = 1024
"""An S3 key, the path from the bucket on."""
_RESERVED: Final = re.compile(r"(?i:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?:\.|$)")
_WINDOWS: Final = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]|[. ]$|^ ')
_REWRITTEN: Final = re.compile("[\x00-\x1f\x7f\u201b\u2400-\u241f\u2421]")
"""rclone writes control characters as pictures and marks those pictures with a quote: neither comes back unchanged."""


def part_name(run_name: str) -> str:
    """The name of the hidden folder beside a run; a hash where the name would be too long."""
    name = f"{PART_PREFIX}{run_name}"
    return name if len(os.fsencode(name)) <= _SEGMENT_BYTES - 8 else f"{PART_PREFIX}{short_hash(run_name)}"


def refuse_names(run_path: str, listing: Listing, kind: Kind, *, rewritten: bool = False, root_bytes: int = 0) -> None:
    """Raise NameUnsupported, with the list, when a NAS of that kind would change or merge names of the run.

    Args:
        run_path: its folders are judged as well.
        listing: what is to be copied.
        kind: whose rules hold.
        root_bytes: the length of what stands before the run's path in a key.
        rewritten: rclone moves the bytes, so what it cannot write unchanged is refused too.
    """
    path = os.fsencode(run_path)
    names = [*listing.files, *listing.folders]
    why: dict[bytes, str] = {}
    for name in [path, *names]:
        reason = _reason(name, kind, rewritten=rewritten)
        if reason is not None:
            why[name] = reason
    if kind == "s3":
        why |= {name: "its key is too long" for name in names if root_bytes + len(path) + 1 + len(name) > _KEY_BYTES}
    if kind == "windows":
        why |= dict.fromkeys(_alike(names), "it differs from another one by case or accents only")
    if why:
        raise _unsupported(why, kind)


def _unsupported(why: Mapping[bytes, str], kind: Kind) -> NameUnsupported:
    first = min(why)
    otherwise = ' Where a mounted NAS or one behind ssh does hold them: names = "posix".' if kind == "windows" else ""
    return NameUnsupported(
        f"The NAS cannot hold {count(len(why), 'name')} of the run as they are, for example {printable(first)}: "
        f"{why[first]}.",
        hint=f"{RENAME}{otherwise}",
        files=sorted(why),
    )


def _reason(name: bytes, kind: Kind, *, rewritten: bool) -> str | None:
    """Why a path cannot be held, or None where it can."""
    rules: list[Callable[[bytes], str | None]] = [_too_long]
    if rewritten or kind != "posix":
        rules.append(_not_unicode)
    if rewritten:
        rules.append(_rewritten)
    if kind == "windows":
        rules.append(_not_for_windows)
    reasons = (rule(segment) for segment in name.split(b"/") for rule in rules)
    return next((reason for reason in reasons if reason is not None), None)


def _too_long(segment: bytes) -> str | None:
    return "it is longer than 255 bytes" if len(segment) > _SEGMENT_BYTES else None


def _not_unicode(segment: bytes) -> str | None:
    try:
        segment.decode("utf-8")
    except UnicodeDecodeError:
        return "it is not UTF-8"
    return None


def _rewritten(segment: bytes) -> str | None:
    found = _REWRITTEN.search(segment.decode("utf-8", errors="replace"))
    return f"rclone would rewrite its character {printable(found.group().encode())}" if found is not None else None


def _not_for_windows(segment: bytes) -> str | None:
    text = segment.decode("utf-8", errors="replace")
    found = _WINDOWS.search(text)
    if found is not None:
        return f"Windows and SMB do not keep {printable(found.group().encode())!r} there"
    if _RESERVED.match(text):
        return "Windows reserves that name"
    return "it is too long for Windows" if len(text.encode("utf-16-le")) > 2 * _WINDOWS_UNITS else None


def _alike(names: Iterable[bytes]) -> list[bytes]:
    """Names of one folder that are equal but for case or Unicode form."""
    groups: defaultdict[tuple[bytes, str], list[bytes]] = defaultdict(list)
    for name in names:
        parent, _, base = name.rpartition(b"/")
        groups[parent, folded(base)].append(name)
    return [name for group in groups.values() if len(group) > 1 for name in group]


def folders_above(name: bytes) -> Iterator[bytes]:
    """The folders above a file, below the run folder."""
    while b"/" in name:
        name = name.rpartition(b"/")[0]
        yield name


def folded(base: bytes) -> str:
    """What is left of a name where neither case nor Unicode form counts."""
    return unicodedata.normalize("NFC", os.fsdecode(base)).casefold()


def like_name(path: str) -> NameUnsupported:
    """The error of a run whose path the NAS takes for another one."""
    return NameUnsupported(
        f"The NAS takes {printable(os.fsencode(path))} for a like name that it has already.",
        hint=f"On this NAS they would be one folder. {RENAME}",
    )


def refuse_other_spelling(run_path: str, names_in: Callable[[str], Sequence[str] | None]) -> None:
    """Raise NameUnsupported where a NAS that ignores case has a folder of the path under another spelling.

    Args:
        run_path: the folders to look for, from the root on.
        names_in: the names in a folder of the NAS ("" is the root), or None where it is not there.
    """
    above = ""
    for segment in run_path.split("/"):
        there = names_in(above)
        below = f"{above}/{segment}" if above else segment
        if there is None:
            return
        if segment not in there and folded(os.fsencode(segment)) in {folded(os.fsencode(name)) for name in there}:
            raise like_name(below)
        above = below
