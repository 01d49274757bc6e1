"""The verbs that set a computer up: ``init``, and the groups ``config`` and ``equipment``."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import click
from pydantic import ValidationError

from exlab_orch.cli import output
from exlab_orch.cli.asking import ask, ask_folder, ask_signal, may_ask
from exlab_orch.cli.call import Call
from exlab_orch.cli.documents import Document, document
from exlab_orch.cli.frame import Verb, VerbGroup
from exlab_orch.cli.setup_words import SIGNAL_KEYS, command, not_usable_yet, signal_words, summary
from exlab_orch.config import (
    CONFIG_VARIABLE,
    SYSTEM_CONFIG,
    Config,
    Equipment,
    load_config,
    parse_config,
    read_config,
    user_config,
)
from exlab_orch.config_errors import ConfigError, ConfigFileInvalid, collect_errors
from exlab_orch.config_file import (
    PROPOSED_RETAIN_HOURS,
    InitAnswers,
    already_there,
    append_equipment,
    effective_toml,
    equipment_block,
    require_writable,
    sample_config,
    with_equipment,
    write_new,
)
from exlab_orch.errors import ConfigInvalid
from exlab_orch.state import owner_name
from exlab_orch.text import printable

_USUAL_STAGING: Final = "/srv/staging"
_SYSTEM_STATE: Final = "/var/lib/exlab-orch"
_KEYS: Final = {
    "signal": "completeness_signal",
    "sentinel": "sentinel_filename",
    "manifest": "manifest_filename",
    "failed": "failed_filename",
}
"""Options of ``equipment add`` that are shorter than their key."""
_SIGNALS: Final = ("signal", "sentinel", "manifest", "quiet_minutes")
"""Options of ``equipment add`` that say when a run is finished."""
_WIDE: Final = 4000
"""Paths that are to be pasted are shown whole."""


@click.command(
    cls=Verb,
    writes=True,
    examples=[
        "sudo exlab-orch init",
        "exlab-orch init -c lab.toml --staging-root /srv/staging --nas-root /mnt/nas/lab --state-dir ~/exlab-state",
    ],
)
@click.option("--staging-root", metavar="FOLDER", help="The folder that equipment pushes its runs into.")
@click.option("--nas-root", metavar="FOLDER", help="The folder on the mounted NAS that runs are copied to.")
@click.option("--state-dir", metavar="FOLDER", help="Where the program keeps its own state; on a local disk.")
@click.option("--label", metavar="TEXT", help="A name for this computer.")
@click.option(
    "--mode",
    type=click.Choice(["manual", "scheduled"]),
    default="manual",
    show_default=True,
    help="Staged copies are deleted when somebody runs 'clear', or by themselves after --retain-hours.",
)
@click.option(
    "--retain-hours",
    type=float,
    default=PROPOSED_RETAIN_HOURS,
    show_default=True,
    metavar="HOURS",
    help="How long a proved run stays.",
)
@click.option("--no-require-mount", is_flag=True, help="The NAS root may be a plain folder, for a trial.")
@click.pass_obj
def init(
    call: Call,
    staging_root: str | None,
    nas_root: str | None,
    state_dir: str | None,
    label: str | None,
    mode: Literal["manual", "scheduled"],
    retain_hours: float,
    no_require_mount: bool,
) -> None:
    """Write a commented configuration: asks on a terminal, takes options elsewhere. A file that is there stays.

    It becomes FILE of -c, else $EXLAB_ORCH_CONFIG, else /etc/exlab-orch/config.toml for root and a file in their own
    configuration folder for others.
    """
    path = _new_config_path(call)
    answers = InitAnswers(
        *_folders(call, staging_root, nas_root, state_dir),
        label=_label(call) if label is None else label,
        require_mount=not no_require_mount,
        mode=mode,
        retain_hours=retain_hours,
    )
    _write_config(call, path, answers)


def _new_config_path(call: Call) -> str:
    """The file to write. Raises ConfigInvalid where it is there already, before any question is asked."""
    path = call.settings.config or os.environ.get(CONFIG_VARIABLE)
    path = path or (SYSTEM_CONFIG if os.geteuid() == 0 else user_config(os.environ))
    if path is None:
        raise ConfigInvalid("There is no HOME to put a configuration into.", hint="Name the file with -c FILE.")
    if os.path.lexists(path):
        raise already_there(path)
    return path


def _folders(call: Call, staging: str | None, nas: str | None, state: str | None) -> tuple[str, str, str]:
    """Staging root, state directory, NAS root: as given, else as answered; the state directory has a default."""
    asking = may_ask(call)
    if not (staging and nas) and not asking:
        raise click.UsageError("Nobody can be asked here: give --staging-root and --nas-root.")
    staging = staging or ask_folder("The folder that equipment pushes its runs into", _USUAL_STAGING)
    nas = nas or ask_folder("The folder on the mounted NAS that runs are copied to", apart_from=staging)
    usual = _own_state_dir()
    if state is None:
        state = _ask_state_dir(usual, staging) if asking else usual
    return staging, state, nas


def _ask_state_dir(usual: str, staging: str) -> str:
    return ask_folder("The folder for the program's own state, on a local disk", usual, apart_from=staging)


def _label(call: Call) -> str:
    name = socket.gethostname()
    return ask("A name for this computer", name) if may_ask(call) else name


def _own_state_dir() -> str:
    return _SYSTEM_STATE if os.geteuid() == 0 else os.path.expanduser("~/.local/state/exlab-orch")


def _write_config(call: Call, path: str, answers: InitAnswers) -> None:
    content = sample_config(answers)
    try:
        config = parse_config(content.encode(errors="surrogatepass"), path)
    except ConfigFileInvalid as error:
        raise _usage(error.errors) from error
    if call.settings.dry_run:
        _show_what_would_be_added(call, path, content)
        return
    call.changing = True
    write_new(path, content)
    steps = _next_steps(path, config)
    if call.settings.json:
        output.print_json(document(dry_run=False, config=path, next=steps))
    else:
        call.say("\n".join([f"Wrote {printable(path, _WIDE)}. What to do next:", *(f"  {step}" for step in steps)]))


def _show_what_would_be_added(call: Call, path: str, content: str) -> None:
    require_writable(path)
    if call.settings.json:
        output.print_json(document(dry_run=True, config=path, content=content))
    else:
        output.print_line(content.rstrip("\n"))
        call.say(f"Dry run, nothing was written. This would be added to {printable(path, _WIDE)}.")


def _next_steps(path: str, config: Config) -> list[str]:
    """Commands to paste; the state directory decides which user runs everything from now on (lifecycle.md, 2)."""
    named = None if path == SYSTEM_CONFIG else path
    state, staging = config.orchestrator.state_dir, config.orchestrator.staging_root
    missing = [(mode, folder) for mode, folder in (("755", state), ("2775", staging)) if not os.path.isdir(folder)]
    make = [f"sudo install -d -m {mode} -o USER {shlex.quote(folder)}" for mode, folder in missing]
    if _is_nameless(state):
        make.append(f"sudo chown -R USER: {shlex.quote(state)}")
    sudo = "sudo " if os.geteuid() == 0 and "SUDO_USER" in os.environ else ""
    return [
        *(f"{one}    # USER: who is to run exlab-orch" for one in make),
        sudo + command(named, "nas-init"),
        sudo + command(named, "equipment add CONFOCAL_01 --sentinel run_complete"),
        f"{_as_runner(state)}{command(named, 'selftest')}",
    ]


def _as_runner(state_dir: str) -> str:
    """What stands before a command of the user that runs the passes."""
    if not os.path.isdir(state_dir):
        return "" if os.geteuid() else "sudo -u USER "
    if _is_nameless(state_dir):
        return "sudo -u USER "
    return "" if os.stat(state_dir).st_uid == os.geteuid() else f"sudo -u {shlex.quote(owner_name(state_dir) or '')} "


def _is_nameless(state_dir: str) -> bool:
    """Whether the state directory is somebody else's who has no name here, as after a restored backup."""
    is_others = os.path.isdir(state_dir) and os.stat(state_dir).st_uid != os.geteuid()
    return is_others and owner_name(state_dir) is None


def _usage(errors: Sequence[ConfigError]) -> click.UsageError:
    """What was given on the command line and the configuration would refuse."""
    return click.UsageError(
        "\n".join(f"{error.key or 'the answers'}: {error.wrong}; allowed: {error.allowed}" for error in errors)
    )


@click.group(cls=VerbGroup)
def config() -> None:
    """Check or show the configuration."""


@config.command(examples=["exlab-orch config validate", "exlab-orch -c new.toml config validate"])
@click.pass_obj
def validate(call: Call) -> None:
    """Say whether the configuration is valid, with every error at once (exit 78), and what is not usable yet."""
    notes = list(not_usable_yet(call.config, call.settings.config))
    if call.settings.json:
        output.print_json(document(config=call.config_path, valid=True, notes=notes))
        return
    output.print_line(f"{printable(call.config_path, _WIDE)} is valid: {summary(call.config)}.")
    for note in notes:
        call.say(note)


@config.command(examples=["exlab-orch config show", "exlab-orch config show --json | jq .effective.nas.root"])
@click.pass_obj
def show(call: Call) -> None:
    """Print every value in effect as TOML, defaults included."""
    if call.settings.json:
        effective = call.config.model_dump(mode="json", by_alias=True, exclude_none=True)
        output.print_json(document(config=call.config_path, effective=effective))
    else:
        output.print_line(effective_toml(call.config).rstrip("\n"))


@config.command(examples=["exlab-orch config schema > exlab-orch.schema.json"])
@click.pass_obj
def schema(call: Call) -> None:  # noqa: ARG001  every verb gets it
    """Print the JSON schema of the configuration, for editors that complete TOML."""

    output.print_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()})


@click.group(cls=VerbGroup)
def equipment() -> None:
    """Add or list equipment."""


@equipment.command(
    writes=True,
    examples=[
        "exlab-orch equipment add NOVASEQ_01 --sentinel CopyComplete.txt --label 'NovaSeq 6000'",
        "exlab-orch equipment add NANOPORE_01 --sentinel 'final_summary_*.txt'",
        "exlab-orch equipment add FLOW_01 --signal manifest",
        "exlab-orch equipment add PLATE_READER_01 --quiet-minutes 60",
        "exlab-orch equipment add CONFOCAL_01",
    ],
)
@click.argument("equipment_id", metavar="ID", required=False)
@click.option("--label", metavar="TEXT", help="A name that people recognise.")
@click.option(
    "--signal",
    type=click.Choice(["sentinel_file", "manifest", "quiet_period"]),
    help="What says that a run is finished; not needed beside --sentinel, --manifest or --quiet-minutes.",
)
@click.option("--sentinel", multiple=True, metavar="GLOB", help="The file it writes last (repeatable: all of them).")
@click.option("--manifest", metavar="FILE", help="The file that lists every file of the run.")
@click.option(
    "--quiet-minutes",
    type=float,
    metavar="MINUTES",
    help="Finished when nothing changed for that long, at least for --settle-seconds.",
)
@click.option("--settle-seconds", type=float, metavar="SECONDS", help="Nothing may have changed for that long; 120.")
@click.option("--min-files", type=int, metavar="NUMBER", help="Fewer data files are never a finished run; 1.")
@click.option("--failed", multiple=True, metavar="GLOB", help="Files that mean the acquisition failed (repeatable).")
@click.option("--alert-after-hours", type=float, metavar="HOURS", help="Still arriving after that is reported; 24.")
@click.option("--run-pattern", multiple=True, metavar="GLOB", help="What its run folders are called (repeatable).")
@click.option("--receipts", is_flag=True, default=None, help="A receipt in its folder when a run is safe.")
@click.option("--arrives-by", type=click.Choice(["smb_mount", "file_transfer"]), help="Recorded with every run.")
@click.option("--nas-root", metavar="FOLDER", help="A NAS of its own, instead of [nas].")
@click.pass_obj
def add(call: Call, /, equipment_id: str | None, **given: object) -> None:
    """Append an equipment to the configuration; everything else in the file stays as it is.

    On a terminal it asks for the ID, and for what says that a run is finished, where they are not given.
    """
    new = _new_equipment(call, equipment_id, given)
    path = call.config_path
    if call.settings.dry_run:
        with_equipment(read_config(path), path, new)
        _show_what_would_be_added(call, path, equipment_block(new))
        return
    call.changing = True
    append_equipment(path, new)
    _say_added(call, path, new)


def _new_equipment(call: Call, equipment_id: str | None, given: Mapping[str, object]) -> Equipment:
    """The equipment, from what was given and, on a terminal, from what is asked."""
    if equipment_id is None and not may_ask(call):
        raise click.UsageError("Nobody can be asked here: give the ID, the name of its folder in staging.")
    equipment_id = equipment_id or ask("Its ID, which is the name of its folder in staging, such as CONFOCAL_01")
    if not any(given[option] for option in _SIGNALS) and may_ask(call):
        _equipment_of({"id": equipment_id, "completeness_signal": "manifest"})  # what is wrong with the ID comes first
        given = {**given, **ask_signal(equipment_id)}
    return _equipment_of(_keys(equipment_id, given))


def _say_added(call: Call, path: str, new: Equipment) -> None:
    config = load_config(path)
    if call.settings.json:
        output.print_json(document(dry_run=False, config=path, equipment=_document(config, new)))
        return
    call.say(f"Added {new.id} to {printable(path, _WIDE)}. A run of it is finished when {signal_words(new)}.")
    for note in not_usable_yet(config, call.settings.config):
        call.say(note)


def _keys(equipment_id: str, given: Mapping[str, object]) -> dict[str, object]:
    """The keys of the block, from the options that were given."""
    keys = {_KEYS.get(name, name): value for name, value in given.items() if value not in (None, ())}
    root = keys.pop("nas_root", None)
    if root is not None:
        keys["nas"] = {"root": root}
    implied = [signal for key, signal in SIGNAL_KEYS.items() if key in keys]
    if "completeness_signal" not in keys and len(implied) != 1:
        raise click.UsageError("Say when a run is finished: --sentinel, --manifest or --quiet-minutes, or --signal.")
    return {
        "id": equipment_id,
        **({} if "completeness_signal" in keys else {"completeness_signal": implied[0]}),
        **keys,
    }


def _equipment_of(keys: Mapping[str, object]) -> Equipment:
    try:
        return Equipment.model_validate(keys)
    except ValidationError as error:
        raise _usage(collect_errors("", "", {}, Equipment, error.errors())) from error


@equipment.command("list", examples=["exlab-orch equipment list", "exlab-orch equipment list --json"])
@click.pass_obj
def list_equipment(call: Call) -> None:
    """The configured equipment.

    Not on a terminal, or with --plain: id, label, signal, when a run is finished, NAS root; tab separated.
    """
    known = call.config.equipment
    if call.settings.json:
        output.print_json(document(config=call.config_path, equipment=[_document(call.config, one) for one in known]))
    elif not known:
        call.say(f"No equipment yet. Add one: {command(call.settings.config, 'equipment add')}")
    elif call.tables:
        _print_blocks(call, known)
    else:
        for one in known:
            root = printable(_root(call.config, one) or "", _WIDE)
            output.print_tabs((one.id, printable(one.label), one.completeness_signal, signal_words(one), root))


def _root(config: Config, equipment: Equipment) -> str | None:
    nas = config.nas_for(equipment.id)
    return None if nas is None else nas.name


def _document(config: Config, equipment: Equipment) -> Document:
    lists = {"sentinel_filename": [*equipment.sentinels], "failed_filename": [*equipment.failed_patterns]}
    return {**equipment.model_dump(mode="json"), **lists, "nas_root": _root(config, equipment)}


def _print_blocks(call: Call, known: Sequence[Equipment]) -> None:
    """Each equipment as its name and two lines beneath it; nothing is cut on a narrow terminal."""
    from rich.padding import Padding
    from rich.text import Text

    console = call.console()
    for one in known:
        console.print(Text.assemble((one.id, "bold"), f"  {printable(one.label)}".rstrip(), overflow="fold"))
        root = _root(call.config, one)
        place = f"copied to {printable(root, _WIDE)}" if root else "has no NAS"
        for line in (f"finished when {signal_words(one)}", place):
            console.print(Padding(Text(line, overflow="fold"), (0, 0, 0, 4), expand=False))
