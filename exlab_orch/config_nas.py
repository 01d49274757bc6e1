"""The kinds of NAS that config.toml can name: a mount, an rclone remote, a computer reached by rsync over ssh."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import InitErrorDetails

from exlab_orch.config_errors import Allowed, raised_again, refusal
from exlab_orch.config_values import AbsolutePath, FileMode, FolderMode, GroupName, MarkerId, Number, list_as_tuple

Names = Literal["strict", "posix"]

_FLAG_VALUE: Final = re.compile(r"[A-Za-z0-9._:/,%+-]*")
FLAGS: Final = frozenset(
    {
        "bind", "buffer-size", "ca-cert", "checkers", "contimeout", "disable-http2", "dscp", "low-level-retries",
        "multi-thread-cutoff", "multi-thread-streams", "s3-acl", "s3-chunk-size", "s3-no-check-bucket",
        "s3-no-head", "s3-sse", "s3-sse-kms-key-id", "s3-storage-class", "s3-upload-concurrency", "s3-upload-cutoff",
        "s3-use-multipart-etag", "sftp-chunk-size", "sftp-concurrency", "sftp-connections", "sftp-idle-timeout",
        "sftp-disable-concurrent-writes", "sftp-set-modtime", "smb-idle-timeout", "timeout", "tpslimit",
        "tpslimit-burst", "transfers", "use-cookies", "user-agent", "webdav-nextcloud-chunk-size",
    }
)  # fmt: skip
"""Flags of rclone that tune how bytes are moved; none of them can change what is moved, deleted or skipped."""


class Table(BaseModel):
    """A table of config.toml: unknown keys are errors, and "yes" is not true."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True, hide_input_in_errors=True
    )


def _remote(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]*", text):
        raise refusal("it is not the name of a remote")
    return text


def _remote_path(text: str) -> str:
    """A path on the far side: no ``..``, nothing that a program could take for an option."""
    if not text.isprintable():
        raise refusal("it contains control characters or line breaks")
    segments = text.rstrip("/").split("/")
    if text.startswith("-") or any(part in (".", "..") for part in segments) or "" in segments[1:]:
        raise refusal("it begins with '-', or a part of it is empty, '.' or '..'")
    return text.rstrip("/") or text[:1]


def _no_pattern(text: str) -> str:
    if re.search(r"[*?\[\\]", text):
        raise refusal("rsync would take it for a pattern", "a folder without *, ?, [ or backslash")
    return text


def _target(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9_][A-Za-z0-9_.-]*", text):
        raise refusal("it is not USER@HOST")
    return text


def _flag(text: str) -> str:
    name, _, value = text.partition("=")
    if name.removeprefix("--") not in FLAGS or not name.startswith("--"):
        raise refusal(f"{name} is not one of the flags that may be set", ", ".join(sorted(f"--{one}" for one in FLAGS)))
    if not value or not _FLAG_VALUE.fullmatch(value):
        raise refusal("it has no value, or one with characters that a flag does not need")
    return text


Flag = Annotated[str, AfterValidator(_flag), Allowed('flags with their value, such as ["--transfers=8"]')]
Flags = Annotated[
    tuple[Flag, ...],
    BeforeValidator(list_as_tuple),
    PlainSerializer(list),
    Allowed('a list of flags with their value, such as ["--transfers=8"]'),
]
RemotePath = Annotated[
    str,
    Field(max_length=1000),
    AfterValidator(_remote_path),
    Allowed('a folder on the far side in quotes, such as "archive/lab"'),
]


class Nas(Table):
    """What every kind of NAS has (lifecycle.md, 5)."""

    type: str = Field(description="How the NAS is reached.")
    marker_id: MarkerId = Field(
        None, description="The id in the marker file .exlab-nas at the root; nothing is copied without it."
    )
    reserve_percent: Number = Field(
        5, ge=0, le=50, description="Free space on the NAS that is never used up, in percent."
    )
    names: Names | None = Field(
        None,
        description="strict: refuse names that Windows or SMB would change; posix: only what no such system holds; "
        "default: by the kind of NAS.",
    )

    @property
    def name(self) -> str:
        """The stable key of this NAS for slots, pauses and problems: its address."""
        raise NotImplementedError


class MountNas(Nas):
    """``type = "mount"``: a folder that is mounted here."""

    type: Literal["mount"] = Field("mount", description="How the NAS is reached: a folder that is mounted here.")
    root: AbsolutePath = Field(description="The folder on the mounted NAS below which runs are published.")
    require_mount: bool = Field(True, description="Refuse a root on the same mount as the staging root or /.")
    group: GroupName = Field(
        None, description="The group that copied files and folders get; default: what the NAS folder gives."
    )
    dir_mode: FolderMode = Field(None, description="The mode of copied folders; default: what the NAS folder gives.")
    file_mode: FileMode = Field(None, description="The mode of copied files; default: what the NAS folder gives.")

    @property
    def name(self) -> str:
        """Its root."""
        return self.root


class ToolNas(Nas):
    """A NAS that another program reaches for us."""

    stall_seconds: Number = Field(
        300, ge=1, le=86_400, description="A program that makes no progress for so long is ended."
    )


class RcloneNas(ToolNas):
    """``type = "rclone"``: a remote of rclone's configuration."""

    type: Literal["rclone"] = Field(description="How the NAS is reached: by the program rclone.")
    remote: Annotated[
        str, AfterValidator(_remote), Allowed('the name of a remote in the rclone configuration, such as "lab-s3"')
    ] = Field(description="The remote's name in rclone's configuration file.")
    path: RemotePath = Field(description="The folder (or bucket and prefix) below which runs are published.")
    config: AbsolutePath | None = Field(
        None, description="rclone's configuration file; default: .config/rclone/rclone.conf of the service user."
    )
    flags: Flags = Field((), description="Flags for rclone that tune how bytes are moved.")
    rclone_path: AbsolutePath | None = Field(
        None, description="The rclone program; default: the installed extra, else the one on the system."
    )

    @property
    def name(self) -> str:
        """Remote and path, as rclone writes them."""
        return f"{self.remote}:{self.path}"


class RsyncNas(ToolNas):
    """``type = "rsync_ssh"``: a computer reached by rsync over ssh."""

    type: Literal["rsync_ssh"] = Field(description="How the NAS is reached: by rsync over ssh.")
    target: Annotated[str, AfterValidator(_target), Allowed('USER@HOST in quotes, such as "labuser@nas01"')] = Field(
        description="User and host."
    )
    path: Annotated[RemotePath, AfterValidator(_no_pattern)] = Field(
        description="The folder there below which runs are published."
    )
    ssh_key_path: AbsolutePath = Field(description="The private key; the service user alone may read it.")
    known_hosts: AbsolutePath = Field(description="The file with the host's key; an unknown host is refused.")
    port: int = Field(22, ge=1, le=65_535, description="The port of the ssh server.")

    @property
    def name(self) -> str:
        """Target and path, as rsync writes them."""
        return f"{self.target}:{self.path}"


KINDS: Final[Mapping[str, type[Nas]]] = {"mount": MountNas, "rclone": RcloneNas, "rsync_ssh": RsyncNas}


def _by_type(value: object, check: ValidatorFunctionWrapHandler) -> object:
    """The model that the table's type names; where the type is unknown only that is wrong, not every key."""
    del check  # it would try every kind, and report the errors of them all
    if value is None or isinstance(value, Nas):
        return value
    if not isinstance(value, Mapping):
        raise refusal("it is not one table", "a table [nas] with type and root")
    kind = value.get("type", "mount")
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        unknown = refusal("there is no such kind of NAS", " or ".join(f'"{known}"' for known in KINDS))
        wrong = InitErrorDetails(type=unknown, loc=("type",), input=kind)
        raise ValidationError.from_exception_data("Nas", [wrong, *_errors_of_a_mount(value)])
    return model.model_validate(value)


def _errors_of_a_mount(value: Mapping[object, object]) -> list[InitErrorDetails]:
    """What is wrong with the other keys, where they are those of a mount: every error is told at once."""
    others = {key: one for key, one in value.items() if key != "type"}
    if not others.keys() <= MountNas.model_fields.keys():
        return []
    try:
        MountNas.model_validate(others)
    except ValidationError as error:
        return [raised_again(detail) for detail in error.errors()]
    return []


AnyNas = Annotated[MountNas | RcloneNas | RsyncNas, WrapValidator(_by_type)]
