"""Make docs/demo.svg: the tour of ``exlab-orch demo`` on a terminal, as a moving picture that fetches nothing.

Run it after a change of the tour or of what its verbs print: .venv/bin/python contrib/docs/make_recording.py [FILE]
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess  # noqa: TID251  a tool of its own
import sys
import tempfile
import termios
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

ROOT = Path(__file__).parents[2]
COLUMNS, ROWS = 92, 28
CHARACTER, LINE = 8.4, 18
LEFT, TOP = 14, 40
SHOWN_FOLDER = "/tmp/lab"  # noqa: S108  a name in a picture
SHOWN_START = datetime(2026, 4, 17, 14, 40, tzinfo=UTC)
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d{3}Z)?")
LAST_HEADING = "Now try it yourself"
STILL = "4 of "
"""What the heading begins with down to which a picture that may not move shows: behind the list of all runs."""


def main() -> None:
    """Make the recording, in docs/ or where the command line says."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "demo.svg"
    lines = list(on_screen(recorded()))
    target.write_text(moving_picture(lines), encoding="utf-8")
    sys.stdout.write(f"{target}\n")


# -- what the tour prints ------------------------------------------------------------------------------------


def recorded() -> str:
    """What the tour prints on a terminal, without what only this computer and this day have."""
    began = datetime.now(UTC)  # noqa: TID251  the program's own clock cannot be given to another process
    with tempfile.TemporaryDirectory() as folder:
        said = on_terminal([sys.executable, "-m", "exlab_orch", "demo", "--fast", "--folder", f"{folder}/lab"])
        said = said.replace(f"{folder}/lab", SHOWN_FOLDER)
    return MOMENT.sub(lambda found: as_if_in_april(found[0], began), said)


def on_terminal(command: Sequence[str]) -> str:
    """Run a command on a pseudo-terminal; everything it printed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "TZ": "UTC"}
    environment["SUDO_USER"] = "ana"
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    said = b"".join(iter(lambda: read(ours), b""))
    os.close(ours)
    if process.wait() != 0:
        raise SystemExit(f"The tour failed:\n{said.decode(errors='replace')}")
    return said.decode()


def read(descriptor: int) -> bytes:
    """The next bytes, or none when the other side is closed."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def as_if_in_april(moment: str, began: datetime) -> str:
    """The same moment on a day that does not change with each recording."""
    known = datetime.fromisoformat(moment if moment.endswith("Z") else f"{moment}+00:00")
    start = began.replace(second=0, microsecond=0) if len(moment) == len("2026-04-17 14:40") else began
    shown = SHOWN_START + (known - start.replace(microsecond=0))
    return shown.strftime("%Y-%m-%dT%H:%M:%S.000Z" if moment.endswith("Z") else "%Y-%m-%d %H:%M:%S")[: len(moment)]


def on_screen(said: str) -> Iterator[Text]:
    """The lines as the terminal has them: those that are too long go on in the next one."""
    for text in AnsiDecoder().decode(said.replace("\r\n", "\n")):
        if LAST_HEADING in text.plain:
            return
        yield from text.divide(range(COLUMNS, len(text), COLUMNS))


# -- when it is shown ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """The screen after so many lines, for so many seconds."""

    lines: int
    seconds: float


def frames(lines: Sequence[str]) -> Iterator[Frame]:
    """A look at each heading with its text, each command as it is typed, each answer; long ones in several."""
    starts = [at for at, line in enumerate(lines) if line.startswith("$ ") or re.match(r"\d of \d ", line)]
    typed = [at + 1 for at in starts if lines[at].startswith("$ ")]
    stops = sorted({*starts[1:], *typed, len(lines)})
    for before, after in pairwise([0, *stops]):
        shown = before
        while shown < after:
            step = min(after - shown, ROWS - 3)
            shown += step
            yield Frame(shown, 0.8 if lines[shown - 1].startswith("$ ") else min(0.7 + 0.12 * step, 3.2))


# -- the picture ---------------------------------------------------------------------------------------------


def moving_picture(lines: Sequence[Text]) -> str:
    """The SVG: every line once, in a column that moves up behind a window."""
    plain = [line.plain for line in lines]
    looks = list(frames(plain))
    seconds = sum(look.seconds for look in looks) + 3
    still = next(number for number, line in enumerate(plain) if line.startswith(STILL)) - 2
    width, height = COLUMNS * CHARACTER + 2 * LEFT, ROWS * LINE + TOP + 14
    column = "\n".join(filter(None, (drawn(number, line) for number, line in enumerate(lines))))
    wide = f'viewBox="0 0 {width:g} {height}" width="{width:g}" height="{height}"'
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" {wide} role="img" aria-labelledby="t">
<title id="t">The guided tour of exlab-orch demo on a terminal</title>
<style>
text {{ font: 14px {FONTS}; white-space: pre; fill: {FORE} }}
.b {{ font-weight: bold }}
.column {{ animation: up {seconds:.1f}s step-end infinite }}
.time {{ animation: time {seconds:.1f}s linear infinite; transform-origin: 0 0 }}
@keyframes up {{ {" ".join(keyframes(looks, seconds))} }}
@keyframes time {{ from {{ transform: scaleX(0) }} to {{ transform: scaleX(1) }} }}
@media (prefers-reduced-motion: reduce) {{
.column {{ animation: none; transform: {moved(still)} }}
.time {{ animation: none }}
}}
</style>
<rect width="{width:g}" height="{height}" rx="8" fill="{BACK}"/>
<text x="{width / 2:g}" y="23" text-anchor="middle">exlab-orch demo</text>
<rect class="time" y="{height - 3}" width="{width:g}" height="3" fill="#68a0b3"/>
<svg x="{LEFT}" y="{TOP}" width="{COLUMNS * CHARACTER:g}" height="{ROWS * LINE}"><g class="column">
{column}
</g></svg>
</svg>
"""


def keyframes(looks: Sequence[Frame], seconds: float) -> Iterator[str]:
    """When the column is moved where."""
    at = 0.0
    for look in looks:
        yield f"{100 * at / seconds:.2f}% {{ transform: {moved(look.lines)} }}"
        at += look.seconds
    yield f"100% {{ transform: {moved(looks[-1].lines)} }}"


def moved(lines: int) -> str:
    """The last of so many lines stands at the bottom of the window."""
    return f"translateY({(ROWS - lines) * LINE}px)"


def colour(style: Style | None) -> str | None:
    """The colour that a style has, or None where it is the usual one."""
    if style is None or style.color is None or style.color.is_default:
        return FORE_DIM if style is not None and style.dim else None
    return str(style.color.get_truecolor(SVG_EXPORT_THEME).hex)


FORE = SVG_EXPORT_THEME.foreground_color.hex
BACK = SVG_EXPORT_THEME.background_color.hex
FONTS = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace'
FORE_DIM = "#8a8d8c"


def drawn(number: int, line: Text) -> str:
    """One line; nothing where it is empty."""
    parts, at = [], 0
    for segment in line.render(Console(color_system="truecolor", force_terminal=True), end=""):
        words = segment.text.rstrip() if at + len(segment.text) >= len(line.plain) else segment.text
        if words.strip():
            parts.append(part(at, words, segment.style))
        at += len(segment.text)
    return f'<text y="{number * LINE + 14}">{"".join(parts)}</text>' if parts else ""


def part(at: int, words: str, style: Style | None) -> str:
    """Words of one style, as wide as their characters are on a terminal, whatever the font."""
    fill = colour(style)
    look = (f' fill="{fill}"' if fill else "") + (' class="b"' if style is not None and style.bold else "")
    wide = f'x="{at * CHARACTER:g}" textLength="{len(words) * CHARACTER:g}"'
    return f"<tspan {wide}{look}>{escape(words, quote=False)}</tspan>"


if __name__ == "__main__":
    main()
