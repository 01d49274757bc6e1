"""How an invocation ends: exit statuses, messages, signals, and what a bug leaves behind (cli.md)."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import FrameType, TracebackType
from typing import NamedTuple, NoReturn

import click

from exlab_orch.cli.again import hint_of, hint_of_a_stop
from exlab_orch.cli.output import ERROR, harmless, print_json, say
from exlab_orch.cli.pasting import pasteable
from exlab_orch.clock import pause
from exlab_orch.errors import EXIT_OUTPUT_LOST, EXIT_REFUSED, EXIT_USAGE, ExlabError

"""EX_IOERR of sysexits.h: what was asked for could not be written to standard output."""


class Stopped(BaseException):
    """SIGINT, SIGTERM or SIGHUP arrived: unwind, leaving everything as the next pass can carry on from."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_status(self) -> int:
        """128 and the number of the signal, as shells report it."""
        return 128 + self.number


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE_SECONDS = 10.0
_LOOK_SECONDS = 3.0
_TELLING_SECONDS = 2.0
restore_terminal: list[Callable[[], None]] = []
"""What gives the terminal back when the process ends without unwinding: live displays put their ``stop`` here."""


def catch_signals() -> None:
    """Turn the signals that ask to stop into ``Stopped``; one that is ignored (nohup) stays ignored."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    _watch()


@cache
def _watch() -> None:
    """Begin to look, once in a process, whether the main thread still hears signals."""
    threading.Thread(target=_end_when_deaf, daemon=True).start()


def _end_when_deaf() -> None:
    """End the process when nobody takes a signal: a NAS that hangs keeps the main thread in the kernel, and there
    handlers never run.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    before: set[int] = set()
    while True:
        pause(_LOOK_SECONDS)
        pending = {*signal.sigpending()} & {*_SIGNALS}
        if pending & before:
            _end_now(min(pending & before))
        before = pending


def _stop(number: int, _frame: FrameType | None) -> None:
    # A second signal, or a large file in hand, ends the process at once: as safe as a power cut, and therefore safe.
    for asked in _SIGNALS:
        signal.signal(asked, lambda again, _where: _end_now(again))
    last = threading.Timer(_GRACE_SECONDS, _end_now, [number])
    last.daemon = True
    last.start()
    raise Stopped(number)


def _end_now(number: int) -> None:
    end_without_unwinding(end_of(Stopped(number)))


def end_without_unwinding(end: End) -> NoReturn:
    """End the process where it stands, as a kill would; the terminal is given back and what was done is told."""
    for restore in restore_terminal:
        restore()
    teller = threading.Thread(target=_tell_all, args=(end,), daemon=True)
    teller.start()
    teller.join(_TELLING_SECONDS)  # a reader that does not read, or a lock that is held, keeps nobody here
    os._exit(end.exit_status)


# -- what was done until then --------------------------------------------------------------------------------


class End(NamedTuple):
    """Why an invocation ended before its work was done."""

    code: str
    message: str
    hint: str
    exit_status: int


def end_of(error: Stopped | ExlabError) -> End:
    """The end that a signal or an error makes."""
    if isinstance(error, ExlabError):
        return End(error.code, error.message, hint_of(error), error.exit_status)
    message = f"Stopped by {signal.Signals(error.number).name}."
    return End("stopped", message, hint_of_a_stop(), error.exit_status)


class _SoFar:
    """The documents of a verb that is at work, which are printed once, whoever ends it."""

    def __init__(self, documents: Callable[[], Iterable[Mapping[str, object]]]) -> None:
        self._documents = documents
        self._once = threading.Lock()

    def tell(self, end: End) -> None:
        """Print them, the last one with why it is not whole."""
        if not self._once.acquire(blocking=False):
            return
        try:
            *others, last = self._documents()
        except ExlabError:
            return  # what ended the verb keeps it from telling, too
        early = {"code": end.code, "message": end.message, "hint": end.hint}
        of_a_pass = {"exit_status": end.exit_status, "unfinished": True}
        changed = {key: value for key, value in of_a_pass.items() if key in last}
        for document in (*others, {**last, **changed, "ended_early": early}):
            print_json(document, line=True)


_at_work: list[_SoFar] = []


def _tell_all(end: End) -> None:
    for so_far in _at_work:
        so_far.tell(end)


@contextmanager
def told_however_it_ends(documents: Callable[[], Iterable[Mapping[str, object]]], *, as_json: bool) -> Iterator[None]:
    """With ``--json``: print what the verb did until then if it is stopped, or cannot go on, in this block.

    ``documents`` gives what the verb prints at its end, as it would be now; the last one gets ``ended_early``.
    """
    so_far = _SoFar(documents)
    _at_work.extend([so_far] if as_json else [])
    try:
        yield
    except (Stopped, ExlabError) as error:
        if as_json:
            so_far.tell(end_of(error))
        raise
    finally:
        if as_json:
            _at_work.remove(so_far)


def report_error(error: ExlabError, *, as_json: bool) -> int:
    """Say what went wrong and what to do now; the exit status."""
    _report(error.code, error.message, hint_of(error), as_json=as_json)
    return error.exit_status


def log_refusal(error: ExlabError) -> None:
    """Note in the application log that a verb that changes something ended with this error."""
    from exlab_orch.logs import note_event

    note_event("refused", error.message, level="WARNING", code=error.code, exit_status=error.exit_status)


def report_usage(error: click.ClickException, *, as_json: bool) -> int:
    """Say what was wrong with the command line; the exit status."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    is_help = isinstance(error, click.exceptions.NoArgsIsHelpError)
    hint = f"See '{context.command_path} --help'." if context is not None and not is_help else ""
    _report("usage", _usage_words(error), hint, as_json=as_json)
    return EXIT_USAGE


def _usage_words(error: click.ClickException) -> str:
    if not isinstance(error, click.NoSuchOption):
        return error.format_message()
    from exlab_orch.text import did_you_mean

    names = [one.lstrip("-") for one in error.possibilities or ()]  # two dashes alone make words alike
    meant = did_you_mean(error.option_name.lstrip("-"), names, show="'--{}'".format)
    return f"No such option '{error.option_name}'.{meant}"


def report_stop(stopped: Stopped, *, as_json: bool, quiet: bool) -> int:
    """Say that it was stopped and that nothing is lost; the exit status."""
    if not quiet:
        end = end_of(stopped)
        _report(end.code, end.message, end.hint, as_json=as_json)
    return stopped.exit_status


def _report(code: str, message: str, hint: str, *, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps({"code": code, "message": message, "hint": pasteable(hint)}), file=sys.stderr, flush=True)
    else:
        say("\n".join(part for part in (message, hint) if part), priority=ERROR)


def after_reading(status: int, fault: int | None) -> int:
    """The exit status of a verb that only reads, when standard output failed with error number ``fault``.

    A reader that went away (``| head``) has what it wanted; a full disk does not.
    """
    if fault in (None, errno.EPIPE):
        return status
    say(f"Standard output could not be written: {os.strerror(fault)}.")
    return status or EXIT_OUTPUT_LOST


BugHook = Callable[[type[BaseException], BaseException, TracebackType | None], None]


def bug_hook(
    *, as_json: Callable[[], bool], verbose: Callable[[], int], state_dir: Callable[[], str | None]
) -> BugHook:
    """A ``sys.excepthook``: one line on screen, the traceback in the log of the state directory. Exit status 1."""

    def hook(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        lines = "".join(traceback.format_exception(kind, error, where))
        folder = state_dir()
        log = None if folder is None else _logged(folder, error)
        if verbose() > 1:
            say(lines)
        place = f"The traceback is in {log}." if log else "Run the command again with -vv to see the traceback."
        _report("bug", f"A bug in exlab-orch: {_one_line(kind, error)}", place, as_json=as_json())

    return hook


def _logged(state_dir: str, error: BaseException) -> str | None:
    from exlab_orch.cli.logfile import bug

    return bug(state_dir, error)


def _one_line(kind: type[BaseException], error: BaseException) -> str:
    return " ".join(harmless(f"{kind.__name__}: {error}").split())[:300]


def exit_status_of(code: str) -> int:
    """The exit status of a problem code; a code that no error carries is a refusal."""
    return next((kind.exit_status for kind in _kinds(ExlabError) if kind.code == code), EXIT_REFUSED)


def _kinds(kind: type[ExlabError]) -> Iterator[type[ExlabError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)
