"""The story the demonstration tells: each verb is really run, and whatever is claimed about it is checked."""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from rich.text import Text

from exlab_orch import checksums
from exlab_orch.config import CONFIG_VARIABLE
from exlab_orch.demo.lab import (
    DAMAGED,
    HELD,
    MARKER,
    NEVER_DONE,
    ONE_SHORT,
    PROVED,
    QUIET_SECONDS,
    RUNS,
    Lab,
    make_lab,
    push_runs,
)
from exlab_orch.errors import EXIT_DONE, EXIT_REFUSED, StagingUnavailable
from exlab_orch.model import CHECKSUMS_PATH, IngestState
from exlab_orch.records import read_record
from exlab_orch.text import printable, size

if TYPE_CHECKING:
    from rich.console import Console

RunVerb = Callable[[Sequence[str]], int]
"""Runs one command line of exlab-orch, prints what it prints, and returns its exit status."""

_SPARE_SECONDS: Final = 0.3
_CHAPTERS: Final = 8

Rest = Callable[[float], None]
"""Gives whoever looks on so many seconds to read."""


class DemoFailed(Exception):
    """Something the demonstration says is not so."""


def run_demo(
    console: Console,
    folder: str | None,
    run_verb: RunVerb,
    program: str = "exlab-orch",
    rest: Rest = lambda _seconds: None,
) -> int:
    """Make a lab, tell its story, and leave the lab where it is; the exit status.

    Args:
        console: where the narration goes; the verbs print to standard output.
        folder: where the lab is made; empty or not there yet. None for a new temporary folder.
        run_verb: runs one verb.
        program: how the program is called from the shell of the person who looks on.
        rest: waits while that person reads.

    Raises:
        StagingUnavailable: the lab cannot be made there.
        DemoFailed: something did not happen as told.
    """
    try:
        lab = make_lab(folder or tempfile.mkdtemp(prefix="exlab-demo-"))
    except OSError as error:
        raise StagingUnavailable(
            f"The lab cannot be made: {error.strerror}.", hint="Choose a place: exlab-orch demo --folder FOLDER"
        ) from error
    story = Story(console, lab, run_verb, program, rest)
    with story.left_tidy(), _configured(lab.config_path):
        for chapter in story.chapters():
            chapter()
    story.end()
    return EXIT_DONE


@contextmanager
def _configured(path: str) -> Iterator[None]:
    """What ``export EXLAB_ORCH_CONFIG=…`` does, for as long as the story lasts."""
    before = os.environ.get(CONFIG_VARIABLE)
    os.environ[CONFIG_VARIABLE] = path
    try:
        yield
    finally:
        del os.environ[CONFIG_VARIABLE]
        if before is not None:
            os.environ[CONFIG_VARIABLE] = before


class Story:
    """The chapters, in order; each tells, runs verbs, and checks what it told."""

    def __init__(
        self, console: Console, lab: Lab, run_verb: RunVerb, program: str, rest: Rest = lambda _seconds: None
    ) -> None:
        self._console = console
        self._lab = lab
        self._run_verb = run_verb
        self._program = program
        self._rest = rest
        self._number = 0
        self._pushed: dict[str, dict[str, bytes]] = {}
        self._arrived_at = time.monotonic()

    def chapters(self) -> Sequence[Callable[[], None]]:
        """The story in its order."""
        return (
            self.set_up,
            self.arrive,
            self.copy,
            self.look_at_one,
            self.flip_a_bit,
            self.hold,
            self.clear,
            self.go_quiet,
        )

    @contextmanager
    def left_tidy(self) -> Iterator[None]:
        """Whoever ends the tour before its end (Ctrl-C) is told what is left of it, and how to remove that."""
        is_over = False
        try:
            yield
            is_over = True
        finally:
            if not is_over:
                self._console.print()
                self._tell("The tour ends here. Its lab stays until you remove it:", gap=False)
                self._show_command(self._removal())

    # -- the chapters ----------------------------------------------------------------------------------------

    def set_up(self) -> None:
        """The lab and its three instruments; the NAS is marked."""
        self._chapter(
            "A small lab is set up",
            "Three instruments cannot reach the NAS, so they push their runs onto this computer. The NAS gets a marker "
            "file: nothing is ever copied to a place without it. A self-test sends a made-up run there and back.",
        )
        self._say_command(f"export {CONFIG_VARIABLE}={shlex.quote(self._lab.config_path)}")
        self._verb("nas-init")
        self._verb("equipment", "list", reading=2)
        self._verb("selftest", "--size", "4MiB", reading=2)

    def arrive(self) -> None:
        """Twelve runs have just been pushed; nothing is copied while they may still grow."""
        push_runs(self._lab)
        self._arrived_at = time.monotonic()
        self._pushed = {run_path: contents(f"{self._lab.staging}/{run_path}") for run_path in RUNS}
        files = [content for run in self._pushed.values() for content in run.values()]
        self._chapter(
            "Runs arrive",
            f"{len(RUNS)} runs with {len(files)} files, {size(sum(map(len, files)))}, came in a moment ago. cron "
            "starts a pass every minute. It copies nothing that may still be growing, and says what runs wait for.",
        )
        self._verb("poll")
        was_quick = time.monotonic() - self._arrived_at < QUIET_SECONDS
        self._verb("list", "--equipment", "CONFOCAL_01", reading=3)
        if was_quick:
            self._require_states(dict.fromkeys(RUNS, IngestState.STAGING))

    def copy(self) -> None:
        """The next pass copies what is complete, and two runs wait."""
        self._chapter(
            "The next pass copies, and proves",
            f"What has not changed for {QUIET_SECONDS} s (minutes in real life) is copied into a hidden folder, read "
            "back from the NAS byte by byte, compared, and published in one step.",
        )
        time.sleep(max(0.0, self._arrived_at + QUIET_SECONDS + _SPARE_SECONDS - time.monotonic()))
        self._verb("poll")
        self._verb("list", reading=5)
        self._require_states(
            {
                run_path: IngestState.STAGING if run_path in (NEVER_DONE, ONE_SHORT) else IngestState.SYNC_VERIFIED
                for run_path in RUNS
            }
        )
        for run_path in RUNS:
            done = run_path not in (NEVER_DONE, ONE_SHORT)
            self._require(self._is_on_nas(run_path) is done, f"{run_path} is {'' if done else 'not '}on the NAS")
        self._tell(
            f"Two runs wait, and the list says for what: a microscope crashed before it wrote {MARKER}, and a "
            "cytometer has not sent all that its manifest promises."
        )

    def look_at_one(self) -> None:
        """A proved run and its history."""
        self._chapter(
            "Where is my run?", "A scientist asks. The answer opens with two sentences, and ends with what to type."
        )
        self._verb("show", name_of(PROVED), reading=4)
        self._require(self._checksums_hold(PROVED), "the checksum list on the NAS fits the files beside it")
        self._tell("At the microscope, a receipt beside the runs says so to everybody:")
        self._show_receipt(PROVED)

    def flip_a_bit(self) -> None:
        """A byte changes on the NAS; verify and the clear find it, and it is mended."""
        name = damage(f"{self._lab.nas}/{DAMAGED}")
        self._chapter(
            "A bit flips on the NAS",
            f"One byte of {name} in {name_of(DAMAGED)} is different there now; size and time are as before. Somebody "
            "wants the disk space back, but a run is read again before anything of it is deleted:",
        )
        self._verb("clear", "--yes", name_of(DAMAGED), ends=EXIT_REFUSED, reading=4)
        self._require(self._is_staged_whole(DAMAGED), "nothing of the damaged run was deleted")
        self._tell("Whatever needs a person stands first in the list, with what to do:")
        self._verb("list", "--equipment", "MASSSPEC_01", reading=2.5)
        self._tell("The staged copy is still there, so it is mended. The damaged file is kept aside, not overwritten:")
        self._verb("sync", "--new-version", name_of(DAMAGED))
        self._require(self._is_on_nas(DAMAGED), "the NAS holds the damaged run again, whole")
        self._verb("verify", name_of(DAMAGED))

    def hold(self) -> None:
        """A person keeps a run."""
        self._chapter("Somebody still needs a run", "A hold stops every delete of it, by people and by the schedule.")
        self._verb("hold", name_of(HELD), "--reason", "Ana compares it until Friday", "--until", "3d")
        self._verb("clear", "--yes", name_of(HELD), ends=EXIT_REFUSED)
        self._require(self._is_staged_whole(HELD), "nothing of the held run was deleted")

    def clear(self) -> None:
        """The staged copies of good runs are deleted, all but the held one; a second time there is nothing to do."""
        self._chapter(
            "The disk is filling up",
            "Everything that is safe gives its space back: read once more from the NAS, then deleted file by file. "
            "What is held, or not proved, stays.",
        )
        self._verb("clear", "--all-verified", "--yes", "--equipment", "CONFOCAL_01", reading=3)
        self._require(not os.path.lexists(self._lab.run(PROVED).folder), "the staged copy is gone")
        self._require(self._is_on_nas(PROVED) and self._checksums_hold(PROVED), "the NAS holds the run, whole")
        others = [path for path in RUNS if not path.startswith("CONFOCAL_01/") or path in (HELD, NEVER_DONE)]
        self._require(all(map(self._is_staged_whole, others)), "no other run lost a file")
        self._verb("list", "--cleared", reading=3)

    def go_quiet(self) -> None:
        """Nothing is new, so nothing is said; and the archive is read again."""
        self._chapter(
            "And then it is quiet",
            "A pass says nothing when nothing is new. In the night the archive is read again, also what is on the NAS "
            "only:",
        )
        self._verb("poll")
        self._verb("verify", "--all", "--quiet")
        self._verb("status", reading=2)
        self._tell("And a page for everybody who has no terminal:")
        self._verb("report", "--html", self._lab.page)
        self._require(os.path.exists(self._lab.page), "the page about the runs is there")

    def end(self) -> None:
        """Where everything is, and what to try."""
        self._heading("Now try it yourself")
        self._tell(f"The lab stays in {self._lab.folder}: staging, nas, state, config.toml and runs.html.")
        for why, commands in self._next_steps():
            self._tell(why, gap=False)
            for command in commands:
                self._show_command(command)
            self._console.print()
        self._tell("For real it begins with 'exlab-orch init'.")

    def _next_steps(self) -> Iterator[tuple[str, list[str]]]:
        lab = self._lab
        missing = shlex.join(
            ["cp", *(entry.path for entry in os.scandir(lab.on_instrument)), lab.run(ONE_SHORT).folder]
        )
        yield "Everything at a glance:", [self._command("list")]
        yield (
            "Send the file that the manifest promises, and a moment later have a pass look again:",
            [
                f"{missing} && sleep {QUIET_SECONDS}",
                self._command("poll", "-v"),
            ],
        )
        yield (
            "Take the run of the crashed microscope as it is:",
            [
                self._command("accept", "--reason", "software crashed", name_of(NEVER_DONE)),
                self._command("poll", "-v"),
            ],
        )
        yield (
            "End the hold, and give back that space too:",
            [
                self._command("unhold", name_of(HELD)),
                self._command("clear", "--yes", name_of(HELD)),
            ],
        )
        yield (
            "Check a copy without exlab-orch:",
            [f"(cd {shlex.quote(f'{lab.nas}/{PROVED}')} && sha256sum -c --quiet {CHECKSUMS_PATH})"],
        )
        yield "See what a real installation would still need:", [self._command("doctor")]
        yield "Remove the lab:", [self._removal()]

    # -- telling ---------------------------------------------------------------------------------------------

    def _chapter(self, title: str, why: str) -> None:
        self._number += 1
        self._heading(f"{self._number} of {_CHAPTERS}  {title}")
        self._tell(why)
        self._rest(1.5)

    def _heading(self, title: str) -> None:
        self._console.print()
        self._console.rule(Text(title, style="bold cyan"), align="left", style="dim")
        self._console.print()

    def _tell(self, words: str, *, gap: bool = True) -> None:
        self._console.print(Text(words))
        if gap:
            self._console.print()

    def _say_command(self, command: str) -> None:
        self._console.print(Text(f"$ {command}", style="bold"), soft_wrap=True)

    def _show_command(self, command: str) -> None:
        self._console.print(Text(f"  {command}", style="bold"), soft_wrap=True)

    def _removal(self) -> str:
        return shlex.join(["rm", "-r", self._lab.folder])

    def _command(self, *words: str) -> str:
        return f"{self._program} -c {shlex.quote(self._lab.config_path)} {shlex.join(words)}"

    def _show_receipt(self, run_path: str) -> None:
        """Show it as the shell would, and require that it says what is claimed."""
        path = self._lab.receipt(run_path)
        self._say_command(f"cat {shlex.quote(os.path.dirname(path))}/*{name_of(run_path)}*.txt")
        try:
            with open(path, encoding="utf-8-sig") as file:
                content = file.read()
        except OSError as error:
            raise DemoFailed(f"{path} cannot be read: {error.strerror}.") from error
        self._console.print(Text(content), soft_wrap=True)
        self._require("SAFE ON THE NAS" in content, f"the receipt of {run_path} says that it is safe")
        self._rest(2)

    # -- doing and checking ----------------------------------------------------------------------------------

    def _verb(self, *words: str, ends: int = EXIT_DONE, reading: float = 1.5) -> None:
        """Show a command, run it, require the exit status that the story needs, and leave time to read."""
        self._say_command(f"exlab-orch {shlex.join(words)}")
        status = self._run_verb(words)
        if ends != EXIT_DONE:
            self._console.print(Text(f"(exit status {status})", style="dim"))
        self._console.print()
        self._require(status == ends, f"'{shlex.join(words)}' ends with {ends}, not {status}")
        self._rest(reading)

    def _require(self, holds: bool, claim: str) -> None:
        if not holds:
            raise DemoFailed(f"This is not so: {printable(claim, 1000)}. The lab is in {self._lab.folder}.")

    def _require_states(self, wanted: dict[str, IngestState]) -> None:
        for run_path, state in wanted.items():
            record = read_record(self._lab.run(run_path))
            self._require(record is not None and record.current_state is state, f"{run_path} is {state.value}")

    def _is_on_nas(self, run_path: str) -> bool:
        """Whether the NAS holds every file that was pushed, with the same content."""
        return self._pushed[run_path].items() <= contents(f"{self._lab.nas}/{run_path}").items()

    def _is_staged_whole(self, run_path: str) -> bool:
        return self._pushed[run_path].items() <= contents(f"{self._lab.staging}/{run_path}").items()

    def _checksums_hold(self, run_path: str) -> bool:
        """What ``sha256sum -c`` says about a run on the NAS."""
        found = contents(f"{self._lab.nas}/{run_path}")
        listed = checksums.parse(found.get(CHECKSUMS_PATH, b""))
        return bool(listed) and all(
            sha256(found.get(os.fsdecode(name), b"")).hexdigest() == wanted for name, wanted in listed.items()
        )


def name_of(run_path: str) -> str:
    """The run's folder name, which no other run of the lab has."""
    return run_path.rpartition("/")[2]


def contents(folder: str) -> dict[str, bytes]:
    """Every file below a folder by relative name; empty where there is no such folder."""
    found: dict[str, bytes] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            with open(f"{parent}/{name}", "rb") as file:
                found[os.path.relpath(f"{parent}/{name}", folder)] = file.read()
    return found


def damage(folder: str) -> str:
    """Change one byte of the first data file in a folder and put its times back; returns the file's name."""
    name = min(entry.name for entry in os.scandir(folder) if entry.is_file())
    path = f"{folder}/{name}"
    before = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(before.st_size // 2)
        byte = file.read(1)[0]
        file.seek(before.st_size // 2)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return name
