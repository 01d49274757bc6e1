"""The verbs and their options, as shells offer them; contrib/docs/make_completion.py writes this file."""

# ruff: noqa: E501

from __future__ import annotations

from typing import Final, NamedTuple


class Verb(NamedTuple):
    """One verb: what it does, what its arguments are, and each option with its kind of value and its help."""

    help: str
    argument: str
    options: dict[str, tuple[str, str]]

    def option(self, name: str) -> str | None:
        """The kind of value that an option takes; "" for a mere flag, None for an unknown option."""
        found = self.options.get(name) or SHARED.get(name)
        return None if found is None else found[0]

    def help_of_options(self) -> list[tuple[str, str]]:
        """Every option that may be given, with its help."""
        return [(name, text) for name, (_, text) in {**self.options, **SHARED}.items()]


# fmt: off
SHARED: Final[dict[str, tuple[str, str]]] = {
    '-c': ('file', 'The configuration file; without it $EXLAB_ORCH_CONFIG, then /etc, then …'),
    '--config': ('file', 'The configuration file; without it $EXLAB_ORCH_CONFIG, then /etc, then …'),
    '-q': ('', 'Errors only'),
    '--quiet': ('', 'Errors only'),
    '-v': ('', 'Say more; -vv more still'),
    '--verbose': ('', 'Say more; -vv more still'),
    '--json': ('', 'JSON for programs, errors too'),
    '--plain': ('', 'Tab separated text, also on a terminal'),
    '--color': ('choice:auto,always,never', "Colours; 'always' also draws tables into a pipe"),
    '-y': ('', 'Answer yes to every question'),
    '--yes': ('', 'Answer yes to every question'),
    '--no-input': ('', 'Never ask; what needs an answer is refused'),
    '-h': ('', 'Show this message and exit'),
    '--help': ('', 'Show this message and exit'),
}

VERBS: Final[dict[str, Verb]] = {
    '': Verb(
        'Copies finished instrument runs to the NAS, proves every byte by …',
        '',
        {
            '--version': ('', 'Show the version'),
            '--equipment': ('equipment', 'Only runs of this equipment (repeatable)'),
            '--project': ('project', 'Only runs of this project folder (repeatable)'),
            '--state': ('choice:staging,complete,sync_queued,sync_verified,cleared', 'Only runs in this state (repeatable)'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'poll': Verb(
        'One pass: evaluate, copy, clean up (what cron calls every minute)',
        '',
        {
            '--only': ('choice:evaluate,sync,cleanup', 'Only this part of the pass (repeatable); interrupted steps are settled …'),
            '--max-duration': ('text', 'Finish the file in hand after that time, then stop'),
            '--equipment': ('equipment', 'Only runs of this equipment (repeatable)'),
            '--project': ('project', 'Only runs of this project folder (repeatable)'),
            '--state': ('choice:staging,complete,sync_queued,sync_verified,cleared', 'Only runs in this state (repeatable)'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'list': Verb(
        'The runs in staging and what happens next',
        '',
        {
            '--cleared': ('', 'The runs that are on the NAS only (from the ledger)'),
            '--problem': ('choice:acquisition_failed,auth_failed,changed_since_verified,changed_while_copied,clearing_stopped,config_invalid,creation_mismatch,hash_mismatch,held,journal_damaged,locked,manifest_invalid,name_unsupported,nas_conflict,nas_copy_damaged,nas_copy_missing,nas_copy_unreadable,nas_full,nas_not_mounted,nas_paused,nas_unreachable,nas_wrong_marker,never_completed,not_a_run,not_sync_verified,notify_failed,orchestrator_disabled,owner_mismatch,permission_denied,receipt_not_written,record_unreadable,record_unsealed,run_disappeared,schema_major_mismatch,selftest_leftover,space_not_freed,special_file,staging_filling,staging_low,staging_unavailable,state_unavailable,sync_failed,tool_missing,tool_too_old,trash_leftover,trash_other_filesystem,unknown_equipment', 'Only what needs a person, or only this problem code'),
            '--sort': ('choice:project,newest,largest,name', 'What comes first: a project with a problem, the newest event, the …'),
            '--watch': ('', 'Show it anew every few seconds, until Ctrl-C'),
            '--equipment': ('equipment', 'Only runs of this equipment (repeatable)'),
            '--project': ('project', 'Only runs of this project folder (repeatable)'),
            '--state': ('choice:staging,complete,sync_queued,sync_verified,cleared', 'Only runs in this state (repeatable)'),
        },
    ),
    'show': Verb(
        'One run: is it safe on the NAS, may it be deleted, why does it wait?',
        'cleared',
        {},
    ),
    'sync': Verb(
        'Copy runs to the NAS now',
        'run',
        {
            '--new-version': ('', 'Where the NAS holds other content: move that to .exlab- …'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'clear': Verb(
        'Delete the staged copy of proved runs',
        'run',
        {
            '--all-verified': ('', 'Every run that is on the NAS, checked (the filters narrow it down)'),
            '--later': ('', 'Note the wish; the next pass does it'),
            '--equipment': ('equipment', 'Only runs of this equipment (repeatable)'),
            '--project': ('project', 'Only runs of this project folder (repeatable)'),
            '--state': ('choice:staging,complete,sync_queued,sync_verified,cleared', 'Only runs in this state (repeatable)'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'accept': Verb(
        'Take an unfinished run as it is',
        'run',
        {
            '--reason': ('text', 'Why; it is kept with your name'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'hold': Verb(
        'No delete of a run until unhold',
        'run',
        {
            '--reason': ('text', 'Why; it is kept with your name'),
            '--until': ('text', 'A duration (24h, 7d) or a date (2026-04-20, 2026-04-20T08:00)'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'unhold': Verb(
        'Deletes may go on',
        'run',
        {
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'pause': Verb(
        'Stop copying to the NAS, for maintenance',
        '',
        {
            '--reason': ('text', 'Why; it is kept with your name'),
            '--until': ('text', 'A duration (24h, 7d) or a date (2026-04-20, 2026-04-20T08:00)'),
            '--nas': ('nas', 'Only this NAS, by its root folder; without it every NAS'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'resume': Verb(
        'Go on copying to the NAS',
        '',
        {
            '--nas': ('nas', 'Only this NAS, by its root folder; without it every NAS'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'takeover': Verb(
        'Make this computer the owner of the staging root',
        '',
        {
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'status': Verb(
        'How it is going: last pass, NAS, disk, open problems',
        '',
        {},
    ),
    'watch': Verb(
        'Passes in a loop, with a live table',
        '',
        {
            '--interval': ('text', 'From the end of a pass to the next one, 1s or more'),
            '--equipment': ('equipment', 'Only runs of this equipment (repeatable)'),
            '--project': ('project', 'Only runs of this project folder (repeatable)'),
            '--state': ('choice:staging,complete,sync_queued,sync_verified,cleared', 'Only runs in this state (repeatable)'),
        },
    ),
    'verify': Verb(
        'Read NAS copies again and compare; cleared runs too',
        'cleared',
        {
            '--all': ('', 'Every run on the NAS, the one that was read longest ago first; also …'),
            '--since': ('text', 'With --all: leave out what was read in full within that time (30d)'),
            '--max-duration': ('text', 'Finish the run in hand after that time, then stop'),
            '--equipment': ('equipment', 'Only runs of this equipment (repeatable)'),
            '--project': ('project', 'Only runs of this project folder (repeatable)'),
            '--state': ('choice:staging,complete,sync_queued,sync_verified,cleared', 'Only runs in this state (repeatable)'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'log': Verb(
        'The log of one run',
        'cleared',
        {},
    ),
    'report': Verb(
        'A page about the runs, for a browser or paper',
        '',
        {
            '--html': ('file', 'The file to write; - is standard output'),
            '--since': ('text', 'How far back it looks'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'init': Verb(
        'Write a commented configuration',
        '',
        {
            '--staging-root': ('folder', 'The folder that equipment pushes its runs into'),
            '--nas-root': ('folder', 'The folder on the mounted NAS that runs are copied to'),
            '--state-dir': ('folder', 'Where the program keeps its own state; on a local disk'),
            '--label': ('text', 'A name for this computer'),
            '--mode': ('choice:manual,scheduled', "Staged copies are deleted when somebody runs 'clear', or by themselves …"),
            '--retain-hours': ('text', 'How long a proved run stays'),
            '--no-require-mount': ('', 'The NAS root may be a plain folder, for a trial'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'nas-init': Verb(
        'Write (or adopt) the marker file on the NAS',
        '',
        {
            '--root': ('nas', 'Only this one: its root, REMOTE:PATH, or USER@HOST:PATH'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'config': Verb(
        'Check or show the configuration',
        '',
        {},
    ),
    'config validate': Verb(
        'Say whether the configuration is valid, with every error at once (exit …',
        '',
        {},
    ),
    'config show': Verb(
        'Print every value in effect as TOML, defaults included',
        '',
        {},
    ),
    'config schema': Verb(
        'Print the JSON schema of the configuration, for editors that complete …',
        '',
        {},
    ),
    'equipment': Verb(
        'Add or list equipment',
        '',
        {},
    ),
    'equipment add': Verb(
        'Append an equipment to the configuration; everything else in the file …',
        '',
        {
            '--label': ('text', 'A name that people recognise'),
            '--signal': ('choice:sentinel_file,manifest,quiet_period', 'What says that a run is finished; not needed beside --sentinel, …'),
            '--sentinel': ('text', 'The file it writes last (repeatable: all of them)'),
            '--manifest': ('file', 'The file that lists every file of the run'),
            '--quiet-minutes': ('text', 'Finished when nothing changed for that long, at least for --settle- …'),
            '--settle-seconds': ('text', 'Nothing may have changed for that long; 120'),
            '--min-files': ('text', 'Fewer data files are never a finished run; 1'),
            '--failed': ('text', 'Files that mean the acquisition failed (repeatable)'),
            '--alert-after-hours': ('text', 'Still arriving after that is reported; 24'),
            '--run-pattern': ('text', 'What its run folders are called (repeatable)'),
            '--receipts': ('', 'A receipt in its folder when a run is safe'),
            '--arrives-by': ('choice:smb_mount,file_transfer', 'Recorded with every run'),
            '--nas-root': ('folder', 'A NAS of its own, instead of [nas]'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'equipment list': Verb(
        'The configured equipment',
        '',
        {},
    ),
    'schedule': Verb(
        'A pass every minute, by cron or systemd',
        '',
        {},
    ),
    'schedule cron': Verb(
        'The file for cron.d, filled in from the configuration: printed, or …',
        '',
        {
            '--install': ('', 'Write to /etc/cron.d instead of printing; as root'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'schedule systemd': Verb(
        'Hardened services and their timers, filled in from the configuration: …',
        '',
        {
            '--install': ('', 'Write to /etc/systemd/system instead of printing; as root'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'notify': Verb(
        "Messages by mail or chat; 'notify test' tries the way",
        '',
        {},
    ),
    'notify test': Verb(
        'Send a test message to every address in notify.urls_file, now',
        '',
        {
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'selftest': Verb(
        'Send a made-up run to the real NAS and back',
        '',
        {
            '--nas': ('nas', 'Only this one: its root, REMOTE:PATH, or USER@HOST:PATH'),
            '--equipment': ('equipment', 'Only the NAS that runs of this equipment go to'),
            '--size': ('text', 'How much data is sent'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'doctor': Verb(
        'Check everything, and say how to mend it',
        '',
        {
            '--strict': ('', 'Exit with 3 for warnings, too'),
            '-n': ('', 'Write nothing; say what would happen'),
            '--dry-run': ('', 'Write nothing; say what would happen'),
        },
    ),
    'completion': Verb(
        'Let bash, zsh or fish complete what you type',
        'choice:bash,fish,zsh',
        {},
    ),
    'demo': Verb(
        'A whole lab in a temporary folder, in one minute',
        '',
        {
            '--folder': ('folder', 'Where the lab is made, empty or new; without it a temporary folder'),
            '--fast': ('', 'Without pauses to read; into a file or a pipe there are none anyway'),
        },
    ),
}
