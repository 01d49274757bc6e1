"""What the words of rclone, rsync and ssh mean: which error of ours, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from exlab_orch.errors import (
    RENAME,
    ExlabError,
    NameUnsupported,
    NasAuthFailed,
    NasConflict,
    NasFull,
    NasUnreachable,
    NasWrongMarker,
    PermissionRefused,
    SyncFailed,
    ToolTooOld,
)
from exlab_orch.hints import IN_THE_WAY, TRIES_AGAIN, promised
from exlab_orch.text import printable

_SHOWN_LINES: Final = 3
_SHOWN_WIDTH: Final = 300
_SECRET: Final = re.compile(
    r"(?i)(://[^/\s:@]+:)[^@/\s]+@"
    r"|((?:pass(?:word|wd)?|secret\w*|token|signature|\bsig|(?:access|secret)_\w*key\w*)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&]+"
    r"|(\bbearer\s+)\S+"
)


class Meaning(NamedTuple):
    """Words that a tool prints, and what they mean."""

    words: re.Pattern[str]
    error: type[ExlabError]
    sentence: str
    hint: str


def _meaning(words: str, error: type[ExlabError], sentence: str, hint: str) -> Meaning:
    return Meaning(re.compile(words, re.IGNORECASE), error, sentence, hint)


REFUSED: Final = "The NAS refuses our user, password or key"
_MEANINGS: Final = (
    _meaning(
        r"knownhosts: key (mismatch|is unknown)|REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed"
        r"|No \S+ host key is known|host key mismatch",
        NasAuthFailed,
        "The NAS shows another host key than the known one, or none is known",
        "Ask the NAS's administrator whether its key changed. If so, put the new one into the known_hosts file; "
        "if not, somebody may be in between.",
    ),
    _meaning(
        r"unable to authenticate|Permission denied \([a-z,-]*(publickey|password|keyboard)|Too many authentication fail"
        r"|401 Unauthorized|StatusCode: 401|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken"
        r"|logon failure|LOGON_FAILURE"
        r"|attempted logon is invalid|bad username"
        r"|couldn't (decode|fetch) token|invalid_grant|Load key \S+ (invalid|error)|bad permissions"
        r"|UNPROTECTED PRIVATE KEY|530 Login",
        NasAuthFailed,
        REFUSED,
        "Check user and password or key in the configuration of that remote, and the account on the NAS.",
    ),
    _meaning(
        r"no space left|disk full|quota exceeded|over quota|disk quota|SSH_FX_NO_SPACE|SSH_FX_QUOTA"
        r"|507 Insufficient|STATUS_DISK_FULL|EntityTooLarge"
        r"|insufficient storage|storage ?full",
        NasFull,
        "The NAS is full",
        promised("Free space there, or raise the quota"),
    ),
    _meaning(
        r"connection (refused|reset|closed|timed out)|no such host|could not resolve|name or service not known"
        r"|no route to host|network is unreachable|i/o timeout|(operation|request|dial) timed out"
        r"|broken pipe|connection lost|unexpected EOF"
        r"|connection unexpectedly closed|lost connection|TLS handshake|use of closed network|\b50[0234] |server closed"
        r"|ssh: handshake failed: EOF|not responding|kex_exchange_identification"
        r"|error in rsync protocol data stream|temporary failure in name|port 65535",
        NasUnreachable,
        "The NAS cannot be reached",
        promised("Check the network, the NAS and its address", TRIES_AGAIN),
    ),
    _meaning(
        r"NoSuchBucket|bucket does not exist|specified share name cannot be found|BAD_NETWORK_NAME",
        NasWrongMarker,
        "There is no such bucket or share on the NAS",
        "Correct the path of that NAS in the configuration, or make the bucket or share.",
    ),
    _meaning(
        r"didn't find section in config file|config file .* not found|couldn't find (section|backend)",
        NasUnreachable,
        "The rclone configuration has no such remote",
        "Make it with 'rclone config' as the service user, or correct remote and config in the configuration.",
    ),
    _meaning(
        r"unknown (flag|shorthand|command)|unrecognized option|unknown option|syntax or usage error",
        ToolTooOld,
        "The program on one of the sides does not know what we ask for",
        "Install a current version; see the documentation of that kind of NAS.",
    ),
    _meaning(
        r"file name too long|name too long|illegal byte|invalid argument.*name|STATUS_OBJECT_NAME_INVALID",
        NameUnsupported,
        "The NAS cannot hold one of the names",
        RENAME,
    ),
    _meaning(
        r"cannot create directory .*(File exists|Not a directory)|Not a directory|Is a directory",
        NasConflict,
        "A file or a link stands where something else belongs",
        promised(IN_THE_WAY),
    ),
    _meaning(
        r"permission denied|access ?denied|403 Forbidden|StatusCode: 403|operation not permitted|read-only file system",
        PermissionRefused,
        "The NAS does not allow it",
        "Let the account read and write that folder on the NAS.",
    ),
)


def error_of(tool: str, lines: Sequence[str], doing: str, *, shown: Sequence[str] | None = None) -> ExlabError:
    """The error that a tool's last lines tell of; ``doing`` completes "while …". The lines are part of its message.

    ``shown`` are the lines for people, where they hold names that must not decide.
    """
    text = "\n".join(lines)
    said = quoted(tool, lines if shown is None else shown)
    for meaning in _MEANINGS:
        if meaning.words.search(text):
            return meaning.error(f"{meaning.sentence}, while {doing}. {said}", hint=meaning.hint)
    return SyncFailed(
        f"{tool} failed while {doing}. {said}", hint="It is tried again later; 'exlab-orch sync RUN' tries now."
    )


def quoted(tool: str, lines: Sequence[str]) -> str:
    """The last lines of a tool as a sentence: escaped, and without what looks like a secret."""
    last = [line.strip() for line in lines if line.strip()][-_SHOWN_LINES:]
    if not last:
        return f"{tool} said nothing."
    unique = list(dict.fromkeys(_SECRET.sub(_starred, line) for line in last))
    return f"{tool} said: " + " / ".join(
        printable(line.encode(errors="surrogateescape"), _SHOWN_WIDTH) for line in unique
    )


def _starred(found: re.Match[str]) -> str:
    return f"{found[1] or found[2] or found[3]}***"


def is_missing(lines: Sequence[str]) -> bool:
    """Whether rclone says that what it was asked for is not on the far side, and nothing else.

    A file that is missing on this computer (keys, known hosts, configuration) is another thing: it has other words.
    """
    return bool(lines) and all(_MISSING.fullmatch(line.strip()) for line in lines)


_MISSING: Final = re.compile(
    r"(?:error listing: |Attempt \d+/\d+ failed with \d+ errors and: "
    r"|Failed to \w+(?: with \d+ errors)?: (?:last error was: )?(?:error in ListJSON: )?)?"
    r"(?:(?:.+ is a directory or doesn't exist: )?(?:directory|object) not found|stat /.+: no such file or directory)"
)
