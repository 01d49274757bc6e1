"""The fixed POSIX shell scripts that run at the far side: what they are told comes as arguments and standard input.

None of them is ever put together from names. Each begins in the NAS's root, its first argument, and walks from there
folder by folder, so that no link leads it anywhere else. They are sent as one line, which every login shell passes on.
"""

from __future__ import annotations

from typing import Final

NO_ROOT: Final = 43
NOT_THERE: Final = 44
FAILED: Final = 45
IN_THE_WAY: Final = 46
TAKEN: Final = 47
NO_SUCH_TOOL: Final = 48
CUT_OFF: Final = 49
OTHER_SPELLING: Final = 50


def _one_line(script: str) -> str:
    return " ".join(line.strip() for line in script.strip().splitlines())


_BEGIN: Final = f"""
LC_ALL=C; export LC_ALL; unset CDPATH; set -f;
absent() {{
  reason=$(ls -d "$1" 2>&1 >/dev/null);
  case $reason in *"No such file"*) exit "$2";; esac;
  printf "%s\\n" "$reason" >&2; exit {FAILED};
}};
blocked() {{ printf "%s: something else is in the way\\n" "$1" >&2; exit {IN_THE_WAY}; }};
enter() {{ cd "$1" 2>/dev/null || {{ ls "$1/." >/dev/null; exit {FAILED}; }}; }};
there() {{ [ -e "$1" ] || [ -h "$1" ]; }};
into() {{
  rest=$1;
  while [ -n "$rest" ]; do
    one=./${{rest%%/*}};
    case $rest in */*) rest=${{rest#*/}};; *) rest=;; esac;
    if [ -h "$one" ]; then blocked "$one"; fi;
    if [ -n "$2" ] && [ ! -e "$one" ]; then mkdir "$one" || [ -d "$one" ] || exit {FAILED}; fi;
    [ -e "$one" ] || absent "$one" {NOT_THERE};
    [ -d "$one" ] || blocked "$one";
    enter "$one";
  done;
}};
[ -e "$1" ] || absent "$1" {NO_ROOT};
[ -d "$1" ] || blocked "$1";
enter "$1";
"""
"""``into PATH [make]`` walks to a folder below the present one."""


def _script(body: str) -> str:
    return _one_line(f"{_BEGIN} {body}")


READ: Final = _script(f"""
into "$2";
there "./$3" || absent "./$3" {NOT_THERE};
if [ -h "./$3" ] || [ ! -f "./$3" ]; then blocked "./$3"; fi;
exec cat "./$3";
""")
"""ROOT FOLDER NAME: the content of one file."""

_TOLD: Final = "%y %D %i %s %T@ %C@ "
_ENTRY: Final = f"{_TOLD}%P\\0"
_FIND_TELLS: Final = f"""
case $(find . -maxdepth 0 -printf "{_TOLD}" 2>/dev/null) in
  "d "[0-9]*" "[0-9]*.[0-9]*" "[0-9]*.[0-9]*" ") ;;
  *) exit {NO_SUCH_TOOL};;
esac;
"""
"""Other finds than GNU's have no -printf, or one that tells less."""

LIST: Final = _script(f"""
{_FIND_TELLS}
into "$2";
exec find . -xdev -printf "{_ENTRY}";
""")
"""ROOT FOLDER: everything below a folder, itself first; what is mounted in there is named and not entered."""

STAMPS: Final = _script(f"""
{_FIND_TELLS}
into "$2";
exec xargs -0 sh -c "$3" sh;
""")
"""ROOT FOLDER SCRIPT, names on standard input: the entries among them that are there."""

STAMPS_OF_SOME: Final = _one_line(f"""
for one; do
  shift;
  if [ -e "$one" ] || [ -h "$one" ]; then set -- "$@" "$one"; fi;
done;
[ $# -eq 0 ] || find "$@" -maxdepth 0 -printf "{_TOLD}%p\\0";
""")

HASHES: Final = _script(f"""
command -v sha256sum >/dev/null || exit {NO_SUCH_TOOL};
into "$2";
exec xargs -0 sh -c "$3" "$4";
""")
"""ROOT FOLDER SCRIPT HOW, names on standard input: a line with the SHA-256 of each, from the disk."""

HASHES_OF_SOME: Final = _one_line("""
sync "$@" || exit 255;
if dd if=/dev/null iflag=nocache count=0 2>/dev/null; then
  for one; do dd "if=$one" iflag=nocache count=0 2>/dev/null; done;
fi;
case $0 in
  together) sha256sum "$@" || exit 255;;
  *) for one; do sha256sum < "$one" || exit 255; done;;
esac;
""")
"""What was written goes to the disk first; then the memory of the NAS forgets it, where it can be told to.

``together`` is faster, and fits names that need no second line.
"""

STREAM: Final = _script("""
into "$2";
exec xargs -0 sh -c "$3" "$4";
""")
"""ROOT FOLDER SCRIPT MARK, names on standard input: the bytes of each, the mark and its status behind them."""

STREAM_OF_SOME: Final = _one_line("""
sync;
for one; do
  cat < "$one";
  printf "\\n%s %s\\n" "$0" "$?";
done;
""")

FOLDERS: Final = _script("""
into "$2" "$3";
exec xargs -0 sh -c "$4" sh;
""")
"""ROOT FOLDER MAKE SCRIPT, names on standard input: makes what is missing, parents named before children."""

FOLDERS_OF_SOME: Final = _one_line("""
for one; do
  if [ -h "$one" ] || [ ! -d "$one" ]; then mkdir "$one" || { [ -d "$one" ] && [ ! -h "$one" ]; } || exit 255; fi;
done;
""")

_HIDDEN_ONLY: Final = f"case ${{2##*/}} in .exlab-part-?*) ;; *) exit {FAILED};; esac;"

REMOVE_FILES: Final = _script(f"""
{_HIDDEN_ONLY}
root=$(pwd); hidden=$2; export root hidden;
into "$2";
exec xargs -0 sh -c "$3" sh;
""")
"""ROOT FOLDER SCRIPT, names on standard input: removes files of one of our hidden folders."""

REMOVE_FOLDERS: Final = _script(f"""
{_HIDDEN_ONLY}
root=$(pwd); hidden=$2; export root hidden;
into "$2";
exec xargs -0 sh -c "$3" sh;
""")
"""ROOT FOLDER SCRIPT, names on standard input: removes folders of one of our hidden folders that are empty."""

_THERE_STILL: Final = 'cd "$root" && cd "./$hidden" || exit 255;'
"""The names may come hours late, over a connection that died: by then the folder may have been published."""

REMOVE_FILES_OF_SOME: Final = _one_line(f'{_THERE_STILL} exec rm -f -- "$@";')
REMOVE_FOLDERS_OF_SOME: Final = _one_line(f'{_THERE_STILL} rmdir -- "$@" 2>/dev/null; exit 0;')

REMOVE_HIDDEN: Final = _script(f"""
{_HIDDEN_ONLY}
case $2 in */*) into "${{2%/*}}";; esac;
rmdir "./${{2##*/}}" 2>/dev/null;
exit 0;
""")
"""ROOT FOLDER: removes one of our hidden folders, if it is empty."""

MOVE: Final = _script(f"""
parent() {{ case $1 in */*) printf "%s/" "${{1%/*}}";; esac; }};
( into "$(parent "$2")" ) || exit $?;
( into "$(parent "$3")" "$4" ) || exit $?;
from=./$2; to=./$3;
there "$from" || absent "$from" {NOT_THERE};
if there "$to"; then exit {TAKEN}; fi;
case $(mv --help 2>&1) in
  *" -T"*) mv -nT "$from" "$to";;
  *) mv -n "$from" "$to";
     if there "$to/${{2##*/}}"; then mv -n "$to/${{2##*/}}" "$from"; fi;;
esac;
if there "$from"; then if there "$to"; then exit {TAKEN}; fi; exit {FAILED}; fi;
there "$to" || exit {FAILED};
sync "./$(parent "$2")." "./$(parent "$3").";
""")
"""ROOT SOURCE TARGET MAKE: one rename to a name that is free; never into a folder, never over anything."""

WRITE: Final = _script(f"""
( into "$4" ) || exit $?;
( into "$4/$5" make ) || exit $?;
( into "$2" make ) || exit $?;
hidden=./$2; new=$hidden/$3; old=./$4/$5/$3;
undo() {{ rm -f "$new"; rmdir "$hidden"; exit "$1"; }};
if [ -d "$old" ]; then blocked "$old"; fi;
rm -f "$new";
( set -C; cat > "$new" ) || undo {FAILED};
[ "$(( $(wc -c < "$new") ))" -eq "$6" ] || undo {CUT_OFF};
sync "$new" || undo {FAILED};
mv -f "$new" "$old" || undo {FAILED};
rmdir "$hidden" 2>/dev/null;
sync "./$4/$5";
""")
"""ROOT HIDDEN NAME RUN FOLDER SIZE, content on standard input: writes one of our small files whole."""

MARK: Final = _script(f"""
if there "./$2"; then exit {TAKEN}; fi;
( set -C; cat > "./$2" ) || exit {FAILED};
[ "$(( $(wc -c < "./$2") ))" -eq "$3" ] || {{ rm -f "./$2"; exit {CUT_OFF}; }};
sync "./$2" .;
""")
"""ROOT NAME SIZE, content on standard input: makes the marker file, which is not there yet."""

SETTLE: Final = _script("""
into "$2";
exec xargs -0 sh -c "$3" sh;
""")
"""ROOT FOLDER SCRIPT, times and names on standard input: gives folders their times and brings them to the disk."""

SETTLE_SOME: Final = _one_line("""
for one; do
  shift;
  touch -c -d "${one%%Z*}Z" "${one#*Z}" 2>/dev/null;
  set -- "$@" "${one#*Z}";
done;
sync "$@" || exit 255;
""")
"""A far side that cannot set such a time keeps its own."""

SPELLING: Final = _script(f"""
set +f;
left=$2;
while [ -n "$left" ]; do
  one=${{left%%/*}};
  case $left in */*) left=${{left#*/}};; *) left=;; esac;
  there "./$one" || exit 0;
  exact=;
  for name in .* *; do if [ "$name" = "$one" ]; then exact=yes; fi; done;
  [ -n "$exact" ] || {{ printf "%s\\n" "$one"; exit {OTHER_SPELLING}; }};
  into "$one";
done;
""")
"""ROOT PATH: whether a folder on the way is there under another spelling."""

SPACE: Final = _script("exec df -P -k .;")
"""ROOT: its total and free space."""
