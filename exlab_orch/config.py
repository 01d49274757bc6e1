"""config.toml as frozen models: what each key means, what it may hold, and which keys fit together (cli.md)."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from exlab_orch.access import closed_file_hint
from exlab_orch.config_errors import (
    ConfigError,
    ConfigFileInvalid,
    collect_errors,
    raised_again,
    refusal,
    syntax_error,
)
from exlab_orch.config_nas import AnyNas, MountNas, Table
from exlab_orch.config_values import (
    AbsolutePath,
    Days,
    Duration,
    EndOfWindow,
    EquipmentId,
    FreeSpace,
    Line,
    ManifestName,
    Number,
    OptionalNumber,
    Patterns,
    RunPatterns,
    TimeOfDay,
    free_space_bytes,
    list_as_tuple,
)
from exlab_orch.errors import ConfigInvalid
from exlab_orch.files.places import open_plain
from exlab_orch.text import printable
from exlab_orch.toml_text import KeyPath

SYSTEM_CONFIG: Final = "/etc/exlab-orch/config.toml"
CONFIG_VARIABLE: Final = "EXLAB_ORCH_CONFIG"
_LARGEST_FILE: Final = 1024 * 1024
_NO_FILE_HINT: Final = "Make one with 'exlab-orch init', or name another with -c FILE."
_SHORTEST_HOURS: Final = 24.0
_MOST_DOTS: Final = 500
"""In one line: the time that tomllib takes for a dotted key grows with the square of its parts."""


def _tables(value: object) -> object:
    if isinstance(value, Mapping):
        raise refusal(
            "it is one table; each instrument has its own block", "blocks that begin with [[equipment]], two brackets"
        )
    return tuple(value) if isinstance(value, list) else value


def _windows(value: object) -> object:
    if isinstance(value, Mapping):
        raise refusal("it is one table", 'a list of windows: [{ days = ["mon"], from = "08:00", to = "18:00" }]')
    return list_as_tuple(value)


class StagingCleanup(Table):
    """``[orchestrator.staging_cleanup]``: when the staged copy of a proved run is deleted (lifecycle.md, 6)."""

    mode: Literal["manual", "scheduled"] = Field(
        "manual", description="Who starts a delete: a person, or the schedule."
    )
    retain_hours: Number = Field(
        24, ge=0, le=87_600, description="Hours a proved run stays in staging before the schedule may delete it."
    )
    min_free: FreeSpace = Field(
        None, description="While less is free on the staging disk, the schedule deletes before retain_hours are over."
    )
    min_retain_hours: OptionalNumber = Field(
        None,
        ge=0,
        le=87_600,
        description="Hours that min_free never undercuts; default: 24, or retain_hours where that is less.",
    )
    max_errors: int = Field(
        3,
        ge=1,
        le=1000,
        description="Deletes that may fail in one pass before the schedule deletes no more in it.",
    )
    proof: Literal["reread", "recent"] = Field(
        "reread", description="Read the NAS copy again at every delete, or let a recent full read count."
    )
    proof_max_age: Duration = Field(None, description='How old a full read may be; with proof = "recent" only.')

    @field_validator("min_retain_hours")
    @classmethod
    def _is_a_floor(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is None:
            return None
        if info.data.get("min_free", "") is None:
            raise refusal("it has no effect without min_free", "min_free beside it, or no min_retain_hours")
        if value > info.data.get("retain_hours", value):
            raise refusal("it is more than retain_hours", "at most retain_hours")
        return value

    @field_validator("proof_max_age")
    @classmethod
    def _goes_with_recent(cls, value: timedelta | None, info: ValidationInfo) -> timedelta | None:
        proof = info.data.get("proof")
        if proof == "recent" and value is None:
            raise refusal('it is missing; proof = "recent" needs it')
        if proof == "reread" and value is not None:
            raise refusal('it has no effect with proof = "reread"', 'proof = "recent" beside it, or no proof_max_age')
        if value is not None and not timedelta(0) < value <= timedelta(days=366):
            raise refusal("it is not between one second and 366 days")
        return value

    @property
    def shortest_hours(self) -> float:
        """Hours that a proved run stays in staging however full the disk is."""
        if self.min_retain_hours is not None:
            return self.min_retain_hours
        return min(self.retain_hours, _SHORTEST_HOURS)

    def mark_bytes(self, total_bytes: int) -> int:
        """The free space of ``min_free`` on a disk of that size; 0 without one."""
        return 0 if self.min_free is None else free_space_bytes(self.min_free, total_bytes)


class Orchestrator(Table):
    """``[orchestrator]``: this computer, its staging area, and where the program keeps its state."""

    enabled: bool = Field(True, description="false: every command that would touch staging refuses.")
    label: Line = Field("", description="A name for this computer that people recognise.")
    staging_root: AbsolutePath = Field(description="The folder that equipment pushes its runs into.")
    state_dir: AbsolutePath = Field(description="Journal, key, locks and ledger; on a local disk, outside staging.")
    staging_cleanup: StagingCleanup = Field(
        default_factory=StagingCleanup, description="When the staged copy of a proved run is deleted."
    )


class Window(Table):
    """One window of ``schedule``, in local time; one that ends before it begins goes over midnight."""

    days: Days = Field(None, description="The days on which it opens; default: every day.")
    opens: TimeOfDay = Field(alias="from", description='When it opens, such as "08:00".')
    closes: EndOfWindow = Field(alias="to", description='When it closes, at most "24:00"; before from: the day after.')

    @field_validator("closes")
    @classmethod
    def _lasts(cls, value: int, info: ValidationInfo) -> int:
        if value == info.data.get("opens"):
            raise refusal("the window would close as it opens", 'another time than from; "24:00" ends a whole day')
        return value


class Sync(Table):
    """``[sync]``: how much is copied at once, how fast, and what happens to files that changed after their proof."""

    parallel_runs: int = Field(2, ge=1, le=16, description="Runs copied or read back at the same time, per NAS.")
    workers: int = Field(2, ge=1, le=32, description="Files copied at the same time within one run.")
    on_change: Literal["version", "hold"] = Field(
        "version", description="A file that changed after its proof: keep the old version aside, or stop and ask."
    )
    upload_mbps: OptionalNumber = Field(
        None, gt=0, le=1_000_000, description="Megabits per second sent to one NAS at most; default: no limit."
    )
    schedule: Annotated[tuple[Window, ...] | None, BeforeValidator(_windows)] = Field(
        None, description="Windows in local time inside which upload_mbps holds; default: always."
    )
    nice: int | None = Field(
        None, ge=0, le=19, description="How far a pass steps back from the processor for others; default: as started."
    )
    ionice: Literal["best-effort-low", "idle"] | None = Field(
        None, description="How far a pass steps back from the disks for others; default: as started."
    )

    @field_validator("schedule")
    @classmethod
    def _limits_something(cls, value: tuple[Window, ...] | None, info: ValidationInfo) -> tuple[Window, ...] | None:
        if value is None:
            return None
        if info.data.get("upload_mbps", 0) is None:
            raise refusal("there is no limit that it could time", "upload_mbps beside it, or no schedule")
        if not value:
            raise refusal("the list is empty", "at least one window, or no schedule: then upload_mbps always holds")
        return value


class Logging(Table):
    """``[logging]``: the application log in the state directory."""

    format: Literal["text", "json"] = Field("text", description="How its lines are written.")


class Notify(Table):
    """``[notify]``: who is told of problems, besides whoever reads what passes print."""

    urls_file: AbsolutePath = Field(
        description="A file with the addresses for Apprise, one a line: mail, Teams, Slack, ntfy. It holds secrets."
    )


class Equipment(Table):
    """``[[equipment]]``: one instrument, and how it says that a run is finished (lifecycle.md, 3)."""

    id: EquipmentId = Field(description="The name of the instrument's folder in staging and on the NAS.")
    label: Line = Field("", description="A name for the instrument that people recognise.")
    run_pattern: RunPatterns = Field(
        None,
        description="Which folders are runs, by their names; globs. Default: Run_*, and TestRun_* in TestRuns.",
    )
    completeness_signal: Literal["sentinel_file", "manifest", "quiet_period"] = Field(
        description="What says that a run is finished."
    )
    sentinel_filename: Patterns = Field(
        None, description="The file, or every one of the files, that the instrument writes last; globs allowed."
    )
    manifest_filename: ManifestName = Field("manifest.json", description="The file that lists every file of the run.")
    quiet_minutes: OptionalNumber = Field(
        None, gt=0, le=44_640, description="Minutes without any change that say it; at least settle_seconds."
    )
    min_files: int = Field(1, ge=1, le=100_000_000, description="Fewer data files than this are never a finished run.")
    settle_seconds: Number = Field(
        120, ge=0, le=604_800, description="Seconds without any change before a run counts as finished."
    )
    failed_filename: Patterns = Field(None, description="Files that mean the acquisition failed; globs allowed.")
    alert_after_hours: Number = Field(
        24, gt=0, le=87_600, description="Hours after which a run that is still arriving is reported."
    )
    arrives_by: Literal["smb_mount", "file_transfer"] = Field(
        "smb_mount", description="How runs arrive here; recorded in ingest.json as transport."
    )
    receipts: bool = Field(
        False, description="Write a receipt that the instrument can see when a run is proved, beside its projects."
    )
    receipts_days: Number = Field(90, gt=0, le=36_500, description="Days that a receipt is kept.")
    nas: AnyNas | None = Field(None, description="A NAS of this instrument's own, instead of [nas].")

    @field_validator("sentinel_filename")
    @classmethod
    def _sentinel_is_named(cls, value: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if value is None and info.data.get("completeness_signal") == "sentinel_file":
            raise refusal('it is missing; completeness_signal = "sentinel_file" needs it')
        return value

    @field_validator("quiet_minutes")
    @classmethod
    def _quiet_time_is_given(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is None and info.data.get("completeness_signal") == "quiet_period":
            raise refusal('it is missing; completeness_signal = "quiet_period" needs it, there is no default')
        return value

    @property
    def quiet_seconds(self) -> float:
        """How long nothing may have changed in a finished run, where nothing else says that it is one."""
        return max(60 * (self.quiet_minutes or 0), self.settle_seconds)

    @property
    def sentinels(self) -> tuple[str, ...]:
        """The names and globs that must all match; empty where the signal is another one."""
        return self.sentinel_filename or ()

    @property
    def failed_patterns(self) -> tuple[str, ...]:
        """The globs that mean the acquisition failed; empty where there are none."""
        return self.failed_filename or ()


class Config(Table):
    """The whole of config.toml; ``load_config`` makes it."""

    orchestrator: Orchestrator = Field(description="This computer.")
    nas: AnyNas | None = Field(None, description="Where runs go, unless an equipment says otherwise.")
    sync: Sync = Field(default_factory=Sync, description="How runs are copied.")
    logging: Logging = Field(default_factory=Logging, description="The application log.")
    notify: Notify | None = Field(None, description="Who is told of problems.")
    equipment: Annotated[tuple[Equipment, ...], BeforeValidator(_tables)] = Field(
        (), description="The instruments whose runs are taken."
    )

    @model_validator(mode="wrap")
    @classmethod
    def _fits_together(cls, value: object, check: ModelWrapValidatorHandler[Config]) -> Config:
        """Judge single keys and what they say together in one go, so that every error shows at once."""
        found = [
            InitErrorDetails(type=wrong, loc=loc, input=None)
            for loc, wrong in _contradictions(value if isinstance(value, Mapping) else {})
        ]
        try:
            config = check(value)
        except ValidationError as error:
            found = [*map(raised_again, error.errors()), *found]
            raise _invalid("Config", found) from error
        if found:
            raise _invalid("Config", found)
        return config

    def equipment_for(self, equipment_id: str) -> Equipment | None:
        """The instrument with that id, or None."""
        return next((equipment for equipment in self.equipment if equipment.id == equipment_id), None)

    def nas_for(self, equipment_id: str) -> AnyNas | None:
        """Where runs of that instrument go: its own NAS, else ``[nas]``, else None."""
        equipment = self.equipment_for(equipment_id)
        return equipment.nas if equipment is not None and equipment.nas is not None else self.nas

    @property
    def mount_roots(self) -> tuple[str, ...]:
        """The folders of mounted NAS below which runs are published, each once."""
        every = [self.nas, *(one.nas for one in self.equipment)]
        return tuple(dict.fromkeys(nas.root for nas in every if isinstance(nas, MountNas)))

    def marker_of(self, equipment_id: str) -> str | None:
        """The id of the marker of the NAS where runs of that instrument go."""
        nas = self.nas_for(equipment_id)
        return None if nas is None else nas.marker_id

    @property
    def run_patterns(self) -> dict[str, tuple[str, ...]]:
        """The names of run folders by equipment, where an equipment has names of its own."""
        return {one.id: one.run_pattern for one in self.equipment if one.run_pattern is not None}

    def fingerprint(self) -> str:
        """SHA-256 over every value in effect: it changes whenever a decision could."""
        canonical = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def find_config(explicit: str | None, environ: Mapping[str, str]) -> str:
    """Which file is the configuration: ``-c``, $EXLAB_ORCH_CONFIG, /etc, then the user's configuration folder.

    What was named is returned whether it exists or not. Raises ConfigInvalid where nothing was named and none exists.
    """
    named = explicit or environ.get(CONFIG_VARIABLE)
    if named:
        return named
    places = [SYSTEM_CONFIG, *filter(None, [user_config(environ)])]
    found = next(filter(_is_there, places), None)
    if found is None:
        raise ConfigInvalid(
            f"There is no configuration; looked for {' and '.join(map(printable, places))}.",
            hint="Make one with 'exlab-orch init', or name one with -c FILE.",
        )
    return found


def user_config(environ: Mapping[str, str]) -> str | None:
    """The configuration file in the user's own folder, or None where the environment names no home."""
    home = environ.get("HOME", "")
    folder = environ.get("XDG_CONFIG_HOME", "")
    if not folder.startswith("/"):
        folder = f"{home}/.config" if home.startswith("/") else ""
    return f"{folder.rstrip('/')}/exlab-orch/config.toml" if folder else None


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read, check and return a configuration. Raises ConfigFileInvalid with every error at once."""
    file = os.fspath(path)
    return parse_config(read_config(file), file)


def parse_config(content: bytes, file: str) -> Config:
    """The configuration in ``content``; ``file`` is its name in messages. Raises ConfigFileInvalid."""
    text = decode_config(content, file)
    try:
        tables = tomllib.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise ConfigFileInvalid.listing([syntax_error(file, text, error)]) from error
    try:
        return Config.model_validate(tables)
    except ValidationError as error:
        raise ConfigFileInvalid.listing(collect_errors(file, text, tables, Config, error.errors())) from error


def decode_config(content: bytes, file: str) -> str:
    """The text of a configuration file. Raises ConfigFileInvalid where it is not UTF-8 or takes too long to read."""
    if len(content) > _LARGEST_FILE:
        raise _unreadable(file, "it is larger than a configuration can be", "at most 1 MiB of TOML")
    for line, dotted in enumerate(content.splitlines(), 1):
        if dotted.count(b".") > _MOST_DOTS:
            wrong = ConfigError(file, line, "", f"more than {_MOST_DOTS} dots", "short keys, lists over several lines")
            raise ConfigFileInvalid.listing([wrong])
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        wrong = ConfigError(file, line, "", "the file is not UTF-8 text", "TOML, saved as UTF-8")
        raise ConfigFileInvalid.listing([wrong]) from error


def read_config(file: str) -> bytes:
    """The bytes of a configuration file, at most 1 MiB and one. Raises ConfigFileInvalid where it cannot be read."""
    try:
        with open(file, "rb", opener=open_plain) as source:
            return source.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "not a file name"
        hint = closed_file_hint(file) if isinstance(error, PermissionError) else _NO_FILE_HINT
        wrong = f"the file cannot be read: {reason}"
        raise _unreadable(file, wrong, "a TOML file that this user may read", hint) from error


def _unreadable(file: str, wrong: str, allowed: str, hint: str = _NO_FILE_HINT) -> ConfigFileInvalid:
    return ConfigFileInvalid.listing([ConfigError(file, 0, "", wrong, allowed)], hint=hint)


def _is_there(file: str) -> bool:
    """Whether something has that name; a folder we may not look into counts as yes, so that it is reported."""
    try:
        os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _invalid(title: str, errors: list[InitErrorDetails]) -> ValidationError:
    return ValidationError.from_exception_data(title, errors)


def _contradictions(tables: Mapping[str, object]) -> Iterator[tuple[KeyPath, PydanticCustomError]]:
    """What single keys cannot know: folders inside each other, and ids that come twice.

    Reads tables that may be wrong in themselves, so it takes only what has the right type.
    """
    staging = _folder(tables, "orchestrator", "staging_root")
    state = _folder(tables, "orchestrator", "state_dir")
    if state == "/":
        yield ("orchestrator", "state_dir"), refusal("it is the root of the system", "a folder of its own")
    if staging and state and _is_inside(state, staging):
        yield (
            ("orchestrator", "state_dir"),
            refusal("it lies inside staging_root", "a folder outside staging and the NAS"),
        )
    for place, nas in _nas_tables(tables):
        root = _folder(nas, "root")
        if root and staging and (_is_inside(root, staging) or _is_inside(staging, root)):
            yield (
                (*place, "root"),
                refusal("it is staging_root, inside it, or around it", "a folder apart from staging"),
            )
        if root and state and _is_inside(state, root):
            yield (*place, "root"), refusal("state_dir lies inside it", "a folder that does not contain state_dir")
    yield from _repeated_ids(tables)


def _repeated_ids(tables: Mapping[str, object]) -> Iterator[tuple[KeyPath, PydanticCustomError]]:
    seen: set[str] = set()
    for number, block in _blocks(tables):
        name = _inner(block, "id")
        if isinstance(name, str) and name in seen:
            yield (
                ("equipment", number, "id"),
                refusal(f'another equipment has the id "{printable(name, 40)}"', "one block for each id"),
            )
        if isinstance(name, str):
            seen.add(name)


def _blocks(tables: Mapping[str, object]) -> Iterator[tuple[int, object]]:
    blocks = tables.get("equipment")
    return iter(enumerate(blocks if isinstance(blocks, list | tuple) else ()))


def _nas_tables(tables: Mapping[str, object]) -> Iterator[tuple[KeyPath, object]]:
    yield ("nas",), tables.get("nas")
    for number, block in _blocks(tables):
        yield ("equipment", number, "nas"), _inner(block, "nas")


def _inner(value: object, name: str) -> object:
    """A key of a table, as TOML gives it or as a model that was made before."""
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _folder(value: object, *names: str) -> str | None:
    for name in names:
        value = _inner(value, name)
    return os.path.normpath(value) if isinstance(value, str) and value.startswith("/") else None


def _is_inside(inner: str, outer: str) -> bool:
    return os.path.commonpath([inner, outer]) == os.path.normpath(outer)
