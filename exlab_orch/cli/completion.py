"""The verb that prints what a shell needs to complete our command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from exlab_orch.cli import output
from exlab_orch.cli.call import Call
from exlab_orch.cli.documents import document
from exlab_orch.cli.frame import Verb

_BASH = """\
# exlab-orch in bash; print it again after an upgrade: exlab-orch completion bash
_exlab_orch() {
    local - IFS=$'\\n' word=${COMP_WORDS[COMP_CWORD]}
    set -f  # names hold stars
    COMPREPLY=($("${1/#\\~\\//$HOME/}" _complete bash "${COMP_LINE:0:COMP_POINT}" "$word" 2>/dev/null))
    case ${COMPREPLY[0]} in
        :files) compopt -o filenames; COMPREPLY=($(compgen -f -- "${word#=}")) ;;
        :folders) compopt -o filenames; COMPREPLY=($(compgen -d -- "${word#=}")) ;;
    esac
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
complete -o nosort -F _exlab_orch exlab-orch 2>/dev/null || complete -F _exlab_orch exlab-orch
"""
_ZSH = """\
#compdef exlab-orch
# exlab-orch in zsh; print it again after an upgrade: exlab-orch completion zsh
_exlab_orch() {
    local line name text program=${${(Q)words[1]}/#\\~\\//$HOME/}
    local -a names shown before=("${(@Q)words[2,CURRENT-1]}")
    for line in "${(@f)$($program _complete zsh "$before[@]" "${(Q)PREFIX}" 2>/dev/null)}"; do
        [[ $line == :files ]] && { compset -P '*='; _files; return }
        [[ $line == :folders ]] && { compset -P '*='; _files -/; return }
        [[ -z $line ]] && continue
        name=${line%%$'\\t'*} text=${line#*$'\\t'}
        names+=("$name")
        [[ $line == *$'\\t'* ]] && shown+=("$name  -- $text") || shown+=("$name")
    done
    (( $#names )) && compadd -l -d shown -a names
}
if [[ $funcstack[1] == _exlab-orch ]]; then _exlab_orch "$@"; else compdef _exlab_orch exlab-orch; fi
"""
_FISH = """\
# exlab-orch in fish; print it again after an upgrade: exlab-orch completion fish
function __exlab_orch_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l last $typed
    for quote in '' '"' "'"
        set -l unquoted (string unescape -- $typed$quote); and set last $unquoted; and break
    end
    set -l option (string match -r -- '^--[^=]*=' $last)
    set -l path (string replace -r -- '^--[^=]*=' '' $typed)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    for line in ($program _complete fish $words[2..-1] $last 2>/dev/null)
        switch $line
            case :files
                printf "$option%s\\n" (complete -C "'' $path")
            case :folders
                printf "$option%s\\n" (complete -C "'' $path" | string match -r '^.*/(?=$|\\t)')
            case '*'
                printf '%s\\n' $line
        end
    end
end
complete -c exlab-orch -f -a '(__exlab_orch_complete)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_INSTALL = {
    "bash": "exlab-orch completion bash | sudo tee /etc/bash_completion.d/exlab-orch",
    "zsh": 'exlab-orch completion zsh > "${fpath[1]}/_exlab-orch"',
    "fish": "exlab-orch completion fish > ~/.config/fish/completions/exlab-orch.fish",
}


if TYPE_CHECKING:
    _Choice = click.Choice[str]
else:
    _Choice = click.Choice  # click 8.1 knows no other


class _Shell(_Choice):
    """One of the shells; who names none is told how completion is installed in theirs."""

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """See ParamType."""
        del param, ctx
        own = os.path.basename(os.environ.get("SHELL", ""))
        lines = [f"For {name}: {line}" for name, line in _INSTALL.items() if name == own or own not in _INSTALL]
        return "\n".join(["There are bash, fish and zsh.", *lines])


@click.command(
    cls=Verb,
    examples=[*_INSTALL.values(), 'eval "$(exlab-orch completion bash)"'],
)
@click.argument("shell", metavar="SHELL", type=_Shell(sorted(_SCRIPTS)))
@click.pass_obj
def completion(call: Call, shell: str) -> None:
    """Print what a shell (bash, fish or zsh) needs to complete verbs, options, and the names of equipment, projects
    and runs.

    The names come from the configuration and the staging folder as they are when the key is pressed.
    """
    if call.settings.json:
        output.print_json(document(shell=shell, script=_SCRIPTS[shell]))
    else:
        output.print_line(_SCRIPTS[shell].rstrip("\n"))
