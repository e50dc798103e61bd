#!/usr/bin/zsh -f
# What zsh completes: complete.zsh FUNCTION LINE prints a line for each match. An interactive zsh on a terminal of its own
# is typed the line and a tab; its compadd tells what it was given.
zmodload zsh/zpty || exit 1
setopt rcquotes
zpty shell zsh -f -i
() {
    zpty -w shell "source $1"
    local line
    repeat 100; do
        zpty -r shell line || exit 2
        [[ $line == ready* ]] && return
    done
    exit 2
} =( <<< '
PROMPT=
RPROMPT=
unsetopt zle_bracketed_paste
fpath=('${1:h}' $fpath)
autoload compinit
compinit -D -u
# Nothing is ever run.
bindkey ''^M'' undefined
bindkey ''^J'' undefined
bindkey ''^I'' complete-word
# A line with NUL before the matches and behind them.
mark () { echo -E - $''\0'' }
compprefuncs=( mark )
comppostfuncs=( mark exit )
zstyle '':completion:*'' list-grouped false
zstyle '':completion:*'' insert-tab false
compadd () {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
        builtin compadd "$@"
        return $?
    fi
    typeset -a found
    builtin compadd -A found "$@"
    builtin compadd "$@"
    (( $#found )) || return 1
    local match
    for match in $found; do
        echo -E - "match:$match"
    done
}
echo ready
')
zpty -w shell "$2"$'\t'
integer marks=0
while zpty -r shell; do :; done | while IFS= read -r line; do
    if [[ $line == *$'\0'* ]]; then
        (( marks++ )) && exit 0
    elif [[ $line == *match:* ]]; then
        line=${line#*match:}
        print -r -- ${line%$'\r'}
    fi
done
