"""Receipts beside the runs, for the people at the instrument: a run is safe on the NAS, or is not any more."""

from __future__ import annotations

import codecs
import errno
import hashlib
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from exlab_orch.clock import format_utc, local_words, parse_utc
from exlab_orch.files.delete import remove_own
from exlab_orch.files.moves import move
from exlab_orch.files.places import Style, exists, is_folder, make_folders, open_folder, opened, read_small
from exlab_orch.files.whole import replace_own
from exlab_orch.model import CHECKSUMS_PATH, Place
from exlab_orch.state import short_hash
from exlab_orch.text import is_utf8, printable, size

RECEIPTS: Final = ".exlab-receipts"
_SCHEMA: Final = "1.0"
_OURS: Final = "exlab-orch"
_LIMIT: Final = 64 << 10
_MOST: Final = 1 << 63
_LONGEST: Final = 80
"""Of a project or a run in a file name; the hash behind it tells names apart that were cut or changed."""
_ODD: Final = re.compile(r"[^A-Za-z0-9._-]+")
_NAME: Final = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]*-[0-9a-f]{16})\.(txt|json)")
_BOM: Final = "\ufeff"
"""Old versions of Notepad take a text without it for another encoding."""
_ENDINGS: Final = ("txt", "json")
_HEADING: Final = "Receipt of exlab-orch"
_HEADING_LINE: Final = re.compile(rf"^\ufeff?{_HEADING}\r?$", re.MULTILINE)
_RUN_LINE: Final = re.compile(r"^Run: +(.+?)\r?$", re.MULTILINE)
_JSON_BEGINS: Final = json.dumps({"schema_version": _SCHEMA, "written_by": _OURS}, indent=1).removesuffix("\n}")
_STYLE: Final = Style(dir_mode=0o755, file_mode=0o644)
"""The instrument's computer reads it, whatever umask this program was started with."""
_ASIDE_LIMIT: Final = 1000
_log = logging.getLogger(__name__)
ELSEWHERE: Final = "the configuration has its equipment on another NAS than it was proved on, or not at all"
"""Why a receipt is withdrawn when the configuration changes."""
UNSEEN: Final = "nobody looks after this folder any more (run_pattern), so nobody sees what is added to it"
PUSHED_AGAIN: Final = "something that was in staging under its name was never proved"
HIDDEN: Final = "its folder cannot be looked at, or its equipment is not configured any more"
UNKNOWN: Final = "nothing tells any more what was proved of it"
Until = Literal["evidence", "read", "proof"]
"""What gives a withdrawn receipt back: the end of its reason; with that a read of the whole copy; only a new proof."""
_RANKS: Final[Sequence[Until]] = ("evidence", "read", "proof")
NOT_WRITTEN: Final = "receipt_not_written"
"""The code of the problem that a receipt does not say what it should; of the run or its copy it says nothing."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt says; the fields are the keys of its JSON."""

    run: str
    safe: bool
    file_count: int
    byte_total: int
    nas_path: str
    checksum_file: str
    checksum_sha256: str
    verified_at: str
    written_at: str
    reason: str | None = None
    """Why it is not safe any more."""
    until: Until | None = None
    """What gives it back then."""

    def is_withdrawn_until(self, until: Until) -> bool:
        """Whether it is withdrawn, and not given back by less than that."""
        return not self.safe and _RANKS.index(self.until or "evidence") >= _RANKS.index(until)


@dataclass(frozen=True, slots=True)
class Standing:
    """A receipt that stands at the instrument, as we wrote it or changed by somebody since."""

    run: str
    """Whose it is, as its files say; "" where they do not."""
    receipt: Receipt | None
    """What its JSON says, where that can be understood."""
    is_whole: bool
    """Whether its JSON and its text are as we wrote them."""


def safe_again(run: str, nas_path: str, *, files: int, byte_total: int, checksum_sha256: str, now: datetime) -> Receipt:
    """What is said of a run whose whole NAS copy was read just now, and is good."""
    return Receipt(
        run=run,
        safe=True,
        file_count=files,
        byte_total=byte_total,
        nas_path=nas_path,
        checksum_file=CHECKSUMS_PATH,
        checksum_sha256=checksum_sha256,
        verified_at=format_utc(now),
        written_at=format_utc(now),
    )


def receipts_place(root: str, run_path: str) -> Place:
    """The folder of the receipts of a run's equipment."""
    return _folder(root, run_path.partition("/")[0])


def _folder(root: str, equipment: str) -> Place:
    return Place(root, f"{equipment}/{RECEIPTS}")


def receipt_name(run_path: str) -> str:
    """The name of a run's receipt, without its ending: one that Windows can hold, and no other run has."""
    _, *parts = run_path.split("/")
    project, leaf = parts[0] if parts[1:] else "", parts[-1] if parts else ""
    words = [_ODD.sub("_", part)[:_LONGEST].strip("._") or "_" for part in (project, leaf)]
    return f"{'-'.join(words)}-{short_hash(run_path)[:16]}"


def read_receipt(root: str, run_path: str) -> Receipt | None:
    """The receipt of a run, or None where there is none, or none that we wrote as it is. Raises OSError."""
    there = receipt_of(root, run_path)
    return there.receipt if there is not None and there.is_whole else None


def receipt_of(root: str, run_path: str) -> Standing | None:
    """What stands there as the receipt of a run, or None where nothing there is ours. Raises OSError."""
    return standing_receipt(root, run_path.partition("/")[0], receipt_name(run_path))


def standing_receipt(root: str, equipment: str, name: str) -> Standing | None:
    """What stands there as a receipt of that name, or None where nothing there is ours. Raises OSError.

    Its run is the one whose receipt has that name: by the JSON, else by the text.
    """
    place = _folder(root, equipment)
    found, shown = _small(place, f"{name}.json"), _small(place, f"{name}.txt")
    parsed = None if found is None else _parse(found)
    if parsed is not None and _is_named_after(parsed[0].run, equipment, name):
        is_whole = shown is not None and hashlib.sha256(shown).hexdigest() == parsed[1]
        return Standing(parsed[0].run, parsed[0], is_whole)
    if shown is None or not _is_our_text(shown):
        return None
    line = _RUN_LINE.search(_decoded(shown))
    run_path = "" if line is None else line[1]
    return Standing(run_path if _is_named_after(run_path, equipment, name) else "", None, is_whole=False)


def _is_named_after(run_path: str, equipment: str, name: str) -> bool:
    return run_path.partition("/")[0] == equipment and receipt_name(run_path) == name


def _small(place: Place, name: str) -> bytes | None:
    """The content of a small plain file; None for what is not there, or is nothing that we could have written."""
    try:
        found = read_small(place, name, _LIMIT)
    except OSError as error:
        if error.errno in (errno.EFBIG, errno.ELOOP):
            return None
        raise
    return None if found is None else found[0]


def _present(root: str, run_path: str) -> list[str]:
    """Which of the two files of a run's receipt are there and ours.

    Raises:
        OSError: that cannot be told; a link or a file in place of the folder is not followed.
    """
    place = receipts_place(root, run_path)
    return [name for name in _names(run_path) if _is_ours(place, name)] if is_folder(place) else []


def _names(run_path: str) -> list[str]:
    return [f"{receipt_name(run_path)}.{ending}" for ending in _ENDINGS]


def _is_ours(place: Place, name: str) -> bool:
    """Whether a file is ours, with somebody's remark in it, too, for it must not go on saying "safe"."""
    content = _small(place, name) or b""
    if name.endswith(".json"):
        return content.startswith(_JSON_BEGINS.encode()) or _parse(content) is not None
    return _is_our_text(content)


def _is_our_text(content: bytes) -> bool:
    """Also with a remark above its heading, and as an editor writes it anew."""
    return _HEADING_LINE.search(_decoded(content)) is not None


def _decoded(content: bytes) -> str:
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_wide else "utf-8", errors="replace")


def issue(root: str, receipt: Receipt) -> bool:
    """Write a receipt, unless it stands there already and says the same; whether it was written.

    Raises:
        OSError: it cannot be written. A link in place of the folder is not followed.
    """
    there = read_receipt(root, receipt.run)
    if there is not None and replace(there, written_at=receipt.written_at) == receipt:
        return False
    make_folders(receipts_place(root, receipt.run), _STYLE)
    _write(root, receipt)
    return True


def _write(root: str, receipt: Receipt) -> None:
    """The text that people read first, whole, and then the JSON."""
    place = receipts_place(root, receipt.run)
    for name, content in zip(_names(receipt.run), (receipt_text(receipt), _json(receipt)), strict=True):
        if exists(place, name) and not _is_ours(place, name):
            _set_aside(place, name)
        replace_own(place, name, content, temporary=f".{name}.exlab-new", style=_STYLE)


def _set_aside(place: Place, name: str) -> None:
    """Rename what bears a receipt's name and is none of ours to ``pushed-<n>-<name>``, where it stays."""
    free = (f"pushed-{number}-{name}" for number in range(1, _ASIDE_LIMIT))
    aside = next((one for one in free if not exists(place, one)), f"pushed-{_ASIDE_LIMIT}-{name}")
    move(place, name, place, aside)
    _log.warning("%s in %s is not ours; it is called %s now", name, printable(place.path), aside)


def withdraw(root: str, run_path: str, reason: str, now: datetime, *, until: Until = "proof") -> bool:
    """Have a run's receipt say that the run is not safe any more, until that; whether there was one to be changed.

    Where that cannot be written, on a full disk, the receipt is removed.

    Raises:
        OSError: neither is possible.
    """
    present, place = _present(root, run_path), receipts_place(root, run_path)
    if not present:
        return False
    try:
        there = receipt_of(root, run_path)
        known = None if there is None else there.receipt
        if there is not None and there.is_whole and known is not None and known.is_withdrawn_until(until):
            return False
        said = known or Receipt(run_path, False, 0, 0, "", "", "", "", "")
        jsons = [name.encode() for name in present if name.endswith(".json")]
        remove_own(place, jsons)  # whoever is killed now leaves no JSON that calls it safe beside the new text
        _write(root, replace(said, run=run_path, safe=False, written_at=format_utc(now), reason=reason, until=until))
    except OSError:
        remove_own(place, map(str.encode, present))
    return True


def expired(root: str, equipment: str, keep: timedelta, now: datetime) -> list[str]:
    """The runs of an equipment whose receipts, as we wrote them, are older than ``keep``. Raises OSError."""
    found = (standing_receipt(root, equipment, name) for name in receipt_names(root, equipment))
    whole = (one.receipt for one in found if one is not None and one.is_whole and one.receipt is not None)
    return [receipt.run for receipt in whole if _is_older(receipt, keep, now)]


def receipt_names(root: str, equipment: str) -> list[str]:
    """The names of what may be receipts of an equipment, without their endings. Raises OSError."""
    place = _folder(root, equipment)
    if not is_folder(place):
        return []
    with opened(open_folder(place)) as folder:
        return sorted({match[1] for match in map(_NAME.fullmatch, os.listdir(folder)) if match is not None})


def equipment_folders(root: str) -> list[str]:
    """The folders in which receipts can be, of whatever equipment. Raises OSError."""
    with os.scandir(root) as folders:
        return sorted(folder.name for folder in folders if folder.is_dir(follow_symlinks=False))


def _is_older(receipt: Receipt, keep: timedelta, now: datetime) -> bool:
    written = parse_utc(receipt.written_at)
    return written is not None and now - written > keep


def remove(root: str, run_path: str) -> None:
    """Remove the files of a run's receipt that are ours. Raises OSError."""
    present = _present(root, run_path)
    if present:
        remove_own(receipts_place(root, run_path), map(str.encode, present))


def _json(receipt: Receipt) -> bytes:
    text_sha256 = hashlib.sha256(receipt_text(receipt)).hexdigest()
    document = {"schema_version": _SCHEMA, "written_by": _OURS, **asdict(receipt), "text_sha256": text_sha256}
    return json.dumps(document, indent=1).encode() + b"\n"


def _parse(content: bytes) -> tuple[Receipt, str] | None:
    """The receipt in a JSON of ours and the SHA-256 of its text, or None for anything else."""
    try:
        found = json.loads(content)
        if (found.pop("schema_version"), found.pop("written_by")) != (_SCHEMA, _OURS):
            return None
        text_sha256 = found.pop("text_sha256")
        receipt = Receipt(**found)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    values = asdict(receipt)
    numbers = [values.pop("file_count"), values.pop("byte_total")]
    optional = [values.pop("reason") or "", values.pop("until") or _RANKS[0]]
    texts = [text_sha256, *optional, *(value for name, value in values.items() if name != "safe")]
    is_ours = (
        all(type(number) is int and 0 <= number < _MOST for number in numbers)
        and all(isinstance(text, str) and is_utf8(text) for text in texts)
        and isinstance(receipt.safe, bool)
        and optional[1] in _RANKS
    )
    return (receipt, text_sha256) if is_ours else None


def receipt_text(receipt: Receipt) -> bytes:
    """The receipt for people, readable in Notepad: UTF-8 with its mark, lines that end as on Windows."""
    since = printable(local_words(receipt.verified_at if receipt.safe else receipt.written_at))
    lines = [_HEADING, "", f"Run:        {printable(receipt.run, 4000)}", ""]
    if receipt.safe:
        lines += [f"SAFE ON THE NAS since {since}.", "It may be deleted from the instrument.", ""]
    else:
        lines += [
            f"NOT SAFE ANY MORE, since {since}: {printable(receipt.reason or '', 1000)}",
            "Do NOT delete it from the instrument.",
            "",
        ]
    if receipt.safe or receipt.nas_path:
        lines += [
            f"Files:      {receipt.file_count:,}",
            f"Size:       {size(receipt.byte_total)} ({receipt.byte_total:,} bytes)",
            f"On the NAS: {printable(receipt.nas_path, 4000)}",
            f"Checksums:  {printable(receipt.checksum_file)} there",
            f"            (its own SHA-256: {printable(receipt.checksum_sha256)})",
        ]
    return (_BOM + "\r\n".join(lines) + "\r\n").encode()
