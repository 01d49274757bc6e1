"""What ssh and rsync can be asked to do: no delete, no move of what is staged, nothing read by a shell by mistake."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exlab_orch.config_nas import RsyncNas
from exlab_orch.errors import ConfigInvalid, NameUnsupported
from exlab_orch.transports import rsync_commands as ask
from exlab_orch.transports import rsync_scripts as scripts
from tests.oracle import require_program

HIDDEN = "FLOW_01/P/Runs/.exlab-part-Run_1"
RUN = "FLOW_01/P/Runs/Run_1"
ASIDE = f"{RUN}/.exlab-wizard/superseded/2026-04-17T14-32-00.000Z/a"
FORBIDDEN = re.compile(r"--(del|delete\S*|remove-\S*|inplace|append\S*|copy-\S+|force|backup\S*|write-devices|daemon)")


def nas(**changed: object) -> RsyncNas:
    keys = {
        "type": "rsync_ssh",
        "target": "lab@nas01",
        "path": "/volume1/arch ive",
        "ssh_key_path": "/etc/exlab-orch/id",
        "known_hosts": "/etc/exlab-orch/known_hosts",
    }
    return RsyncNas.model_validate({**keys, **changed})


FAR = ask.Far.of(nas())
SHELL = ask.remote_shell("/usr/bin/ssh", ask.connection(nas()))


def rsyncs() -> Iterator[ask.Arguments]:
    """What every builder of an rsync makes of good arguments."""
    yield ask.upload(SHELL, "/staging/FLOW_01/P/Runs/Run_1", FAR, HIDDEN, partial=".partial", timeout=300)
    yield ask.upload(SHELL, "/", FAR, ".exlab-part-x", partial=".partial", timeout=1)
    yield ask.listing(SHELL, FAR, RUN, timeout=300)
    yield ask.version()


def test_every_builder_that_takes_a_shell_is_tried_here() -> None:
    builders = [
        name
        for name, value in vars(ask).items()
        if inspect.isfunction(value) and "shell" in inspect.signature(value).parameters
    ]
    assert builders == ["upload", "listing"]


def is_remote(word: str) -> bool:
    """As rsync tells: a colon before the first slash."""
    return ":" in word.partition("/")[0]


def test_rsync_never_deletes_nor_removes_and_never_has_a_remote_source() -> None:
    for arguments in rsyncs():
        assert not [word for word in arguments if FORBIDDEN.fullmatch(word)], arguments
        places = arguments[arguments.index("--") + 1 :] if "--" in arguments else ()
        if "--list-only" in arguments:
            assert len(places) == 1  # with no target, nothing is written
        elif places:
            assert [is_remote(place) for place in places] == [False, True], places


@pytest.mark.parametrize("bad", ["--delete", "--del", "--delete-after", "--remove-source-files", "--inplace"])
def test_the_guard_sees_what_it_forbids(bad: str) -> None:
    assert FORBIDDEN.fullmatch(bad)


def test_a_limit_is_never_none_by_rounding() -> None:
    assert [ask.limit(one) for one in (None, 1.0, 1e6)] == [(), ("--bwlimit=1",), ("--bwlimit=976",)]


def test_names_come_on_standard_input_and_links_are_not_sent() -> None:
    upload = next(rsyncs())
    wanted = {"-s", "--from0", "--files-from=-", "--mkpath", "--times", "--no-links", "--no-recursive"}
    assert wanted <= {*upload}
    assert not {"-l", "-a", "-r", "-L", "-K", "--links", "--archive", "--recursive"} & {*upload}


@pytest.mark.parametrize(
    ("staged", "to"),
    [
        ("/staging/run", RUN),
        ("/staging/run", f"{HIDDEN}/sub"),
        ("/staging/run", ".exlab-part-x/Run_1"),
        ("nas01:/staging/run", HIDDEN),
        ("staging/run", HIDDEN),
        ("", HIDDEN),
    ],
)
def test_an_upload_goes_from_here_into_a_hidden_folder_or_nowhere(staged: str, to: str) -> None:
    with pytest.raises(ValueError, match="not from here"):
        ask.upload(SHELL, staged, FAR, to, partial=".partial", timeout=300)


@pytest.mark.parametrize("partial", ["../elsewhere", "/tmp", "partial", ".a/b"])
def test_parts_of_files_stay_in_the_hidden_folder(partial: str) -> None:
    with pytest.raises(ValueError, match="not a folder for parts"):
        ask.upload(SHELL, "/staging/run", FAR, HIDDEN, partial=partial, timeout=300)


@pytest.mark.parametrize(
    ("build", "source", "target"),
    [
        (ask.move_to_publish, RUN, "FLOW_01/P/Runs/Run_2"),
        (ask.move_to_publish, HIDDEN, f"{HIDDEN}/b"),
        (ask.move_aside, HIDDEN, ASIDE),
        (ask.move_aside, f"{RUN}/a", "FLOW_01/P/Runs/Run_2/a"),
        (ask.move_aside, f"{RUN}/a", f"{HIDDEN}/.exlab-wizard/superseded/x/a"),
    ],
)
def test_other_moves_cannot_be_made(build: Callable[[str, str], object], source: str, target: str) -> None:
    with pytest.raises(ValueError, match="not a move"):
        build(source, target)


@pytest.mark.parametrize("path", [RUN, f"{HIDDEN}/sub", "", ".exlab-wizard"])
def test_things_are_removed_from_our_hidden_folders_only(path: str) -> None:
    with pytest.raises(ValueError, match="not one of our hidden folders"):
        ask.hidden(path)
    assert ask.hidden(HIDDEN) == HIDDEN


# -- ssh -----------------------------------------------------------------------------------------------------


def options_of(arguments: ask.Arguments) -> dict[str, str]:
    """What the real ssh makes of the options, keys in lower case."""
    program = require_program("ssh")
    shown = subprocess.run([program, "-G", *arguments, "host"], capture_output=True, text=True, check=True, timeout=10)
    return dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)


def test_ssh_understands_the_options_and_asks_nobody() -> None:
    found = options_of(ask.connection(nas(port=2222)))
    wanted = {
        "user": "lab",
        "port": "2222",
        "batchmode": "yes",
        "stricthostkeychecking": "true",
        "userknownhostsfile": "/etc/exlab-orch/known_hosts",
        "globalknownhostsfile": "/dev/null",
        "identityfile": "/etc/exlab-orch/id",
        "identitiesonly": "yes",
        "identityagent": "none",
        "passwordauthentication": "no",
        "kbdinteractiveauthentication": "no",
        "forwardagent": "no",
        "forwardx11": "no",
        "clearallforwardings": "yes",
        "permitlocalcommand": "no",
        "updatehostkeys": "false",
        "controlmaster": "false",
        "requesttty": "false",
        "connecttimeout": "15",
        "serveraliveinterval": "15",
    }
    assert {key: found.get(key) for key in wanted} == wanted
    assert ask.connection(nas())[:2] == ("-F", "none")


@pytest.mark.parametrize("path", ["/keys/a b", "/keys/it's", "/keys/100%h", "/keys/-i", "/keys/#1;x", "/keys/ä"])
def test_odd_paths_of_key_and_known_hosts_arrive_as_they_are(path: str) -> None:
    arguments = ask.connection(nas(known_hosts=path, ssh_key_path=path))
    found = [word for word in arguments if path.replace("%", "%%") in word]
    assert len(found) == 2
    shown = options_of(arguments)
    assert shown["identityfile"].replace("%%", "%") == path


@pytest.mark.parametrize("path", ['/keys/"a', "/keys/a\\b", "/keys/${HOME}"])
def test_paths_that_ssh_would_change_are_refused(path: str) -> None:
    with pytest.raises(ConfigInvalid, match="cannot be given the path"):
        ask.connection(nas(known_hosts=path))


def test_rsync_starts_ssh_with_exactly_the_options_of_ssh(tmp_path: Path) -> None:
    """The real rsync cuts the value of ``-e``; a script in the place of ssh tells what came."""
    rsync = require_program("rsync")
    told = tmp_path / "a place's ssh"
    told.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" > "{tmp_path}/told"\n')
    told.chmod(0o755)
    options = ask.connection(nas(known_hosts="/keys/it's a \"b"[:-2], ssh_key_path="/keys/a  b"))
    arguments = ask.listing(ask.remote_shell(str(told), options), FAR, RUN, timeout=5)
    subprocess.run([rsync, *arguments], capture_output=True, check=False, timeout=10)
    came = (tmp_path / "told").read_bytes().decode().split("\0")
    assert came[: len(options)] == [*options]
    assert came[len(options)] == "nas01"


def test_a_socket_that_the_kernel_would_refuse_is_not_shared() -> None:
    assert ask.socket_in("/var/lib/exlab-orch", "ssh-1234") == "/var/lib/exlab-orch/ssh-1234"
    assert ask.socket_in(f"/{'x' * 100}", "ssh-1234") is None
    assert ask.socket_in('/var/"lib', "ssh-1234") is None


# -- scripts -------------------------------------------------------------------------------------------------


def test_words_for_the_far_side_come_through_its_shell_unchanged() -> None:
    words = ["a b", "$(touch x)", "it's", '"', "*", "", "-rf", "new\nline", "`id`", "\\", "ä", "!!"]
    command = ask.remote((), FAR, 'printf "%s\\0" "$@"', *words)[-1]
    shown = subprocess.run(["sh", "-c", command], capture_output=True, check=True, timeout=10)
    assert shown.stdout.decode().split("\0")[:-1] == [FAR.root, *words]


def test_the_host_is_never_taken_for_an_option() -> None:
    arguments = ask.remote(ask.connection(nas()), FAR, scripts.SPACE)
    assert arguments[-3:-1] == ("--", "nas01")


@pytest.mark.parametrize(("path", "root"), [("", "./."), ("archive", "./archive"), ("/a b", "/a b"), ("~x", "./~x")])
def test_a_path_that_is_not_absolute_is_below_the_home_folder(path: str, root: str) -> None:
    assert ask.Far.of(nas(path=path)).root == root


SCRIPTS = {
    name: text for name, text in vars(scripts).items() if re.fullmatch("[A-Z]\\w+", name) and isinstance(text, str)
}


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_every_script_is_one_line_that_a_plain_shell_understands(name: str) -> None:
    script = SCRIPTS[name]
    assert "\n" not in script
    for shell in filter(None, map(shutil.which, ("sh", "dash", "bash", "busybox"))):
        done = subprocess.run(
            [shell, *(["sh"] if shell.endswith("busybox") else []), "-n", "-c", script],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        assert done.stderr == ""


def test_no_script_removes_more_than_one_thing_at_a_time() -> None:
    for name, script in SCRIPTS.items():
        assert not re.search(r"\brm (-\w*[rR]|--rec)|rm -f \S*\*|-delete|-exec|\bshred\b|mkfs|truncate", script), name


def test_only_scripts_that_look_first_whether_the_folder_is_hidden_remove_what_is_named() -> None:
    guard = "case ${2##*/} in .exlab-part-?*) ;; *) exit 45;; esac;"
    removing = {name for name, script in SCRIPTS.items() if re.search(r"\brm(dir)? .*\$(@|\{2)", script)}
    some = {"REMOVE_FILES_OF_SOME", "REMOVE_FOLDERS_OF_SOME"}
    assert removing == {*some, "REMOVE_HIDDEN"}
    assert all(guard in SCRIPTS[name] for name in ("REMOVE_FILES", "REMOVE_FOLDERS", "REMOVE_HIDDEN"))
    assert all(SCRIPTS[name].startswith('cd "$root" && cd "./$hidden" || exit 255;') for name in some)


def test_a_list_that_comes_late_removes_nothing_from_a_folder_that_was_published_meanwhile(tmp_path: Path) -> None:
    """The connection died, sshd found out hours later, and what came of the list until then is all there is."""
    part = tmp_path / ".exlab-part-run"
    part.mkdir()
    (part / "a.fcs").write_bytes(b"a")
    arguments = ["sh", "-c", SCRIPTS["REMOVE_FILES"], "x", str(tmp_path), part.name, SCRIPTS["REMOVE_FILES_OF_SOME"]]
    late = subprocess.Popen(arguments, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert late.stdin is not None
    late.stdin.write(b"./a.fcs\0./b")
    late.stdin.flush()
    time.sleep(0.3)
    part.rename(tmp_path / "run")
    late.stdin.close()
    assert late.wait(10) != 0
    assert (tmp_path / "run/a.fcs").read_bytes() == b"a"


def test_only_our_small_files_are_ever_renamed_over_something() -> None:
    over = {name for name, script in SCRIPTS.items() if re.search(r"\bmv (?!-n|--help)", script)}
    assert over == {"WRITE"}


def test_times_are_written_so_that_touch_reads_them() -> None:
    given = ask.times([(b"sub\nx", 1_700_000_000_123_456_789), (b"", 0), (b"old", -1)])
    assert given == (
        b"2023-11-14T22:13:20.123456789Z./sub\nx\0"
        b"1970-01-01T00:00:00.000000000Z./\0"
        b"1969-12-31T23:59:59.999999999Z./old\0"
    )


@pytest.mark.parametrize("run", ["EQ/P[1]/Runs/Run_1", "EQ/P/Runs/Run_*", "EQ/P/Runs/Run_?", "EQ/P/Runs/Run\\1"])
def test_a_run_whose_path_rsync_would_take_for_a_pattern_is_refused(run: str) -> None:
    with pytest.raises(NameUnsupported, match="pattern"):
        ask.refuse_patterns(run)
    ask.refuse_patterns("EQ/P 1/Runs/Run_2026-04-17T14-32")
