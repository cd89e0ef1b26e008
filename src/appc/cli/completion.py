"""`appc completion`: static scripts for the shells, made from the verbs' tables.

Pressing TAB starts appc only where the answer is on disk (pods, images): `appc completion-values`.
"""

from __future__ import annotations

from appc.cli.options import FLAG, GLOBAL, HELP, LIST, OPTIONAL, REPEAT, Operand, Option, Verb
from appc.cli.output import out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from appc.cli.context import Context
    from appc.cli.options import Args

SHELLS = ("bash", "zsh", "fish")

VERB = Verb(
    "completion",
    "print the completion script for a shell",
    operands=(Operand("shell", choices=SHELLS, help="which shell"),),
    examples=(
        ("appc completion bash > /etc/bash_completion.d/appc", "complete appc's words in bash"),
        ("appc completion zsh > /usr/local/share/zsh/site-functions/_appc", "in zsh"),
        ("appc completion fish > ~/.config/fish/completions/appc.fish", "in fish"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Print the script."""
    out(script(args.shell))
    return 0


def script(shell: str) -> str:
    """Return the completion script for one of SHELLS."""
    from appc.cli.help import all_verbs

    verbs = all_verbs()
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](verbs)


def _groups(verbs: list[Verb]) -> dict[str, list[tuple[str, str]]]:
    """Map "" and every name that others go on from to the (word, summary) pairs that may follow it.

    Such a name may be a verb itself, as `image build` is beside `image build from-binary`.
    """
    summaries = {verb.name: verb.summary for verb in verbs}
    groups: dict[str, dict[str, str]] = {"": {}}
    for verb in verbs:
        words = verb.name.split(" ")
        for index, word in enumerate(words):
            name = " ".join(words[: index + 1])
            members = groups.setdefault(" ".join(words[:index]), {})
            members.setdefault(word, summaries.get(name, f"{name} commands"))
    return {name: list(members.items()) for name, members in groups.items()}


def _shown(verb: Verb) -> list[Option]:
    """Every option that is offered for a verb, once."""
    named = {option.long: option for option in (*verb.app_options, *verb.options, HELP) if not option.hidden}
    return list(named.values())


def _takes_value(option: Option) -> bool:
    return option.kind not in (FLAG, OPTIONAL)


def _kinds(verb: Verb) -> list[str]:
    """What a verb's operands may be completed with."""
    kinds = [operand.complete for operand in verb.operands if operand.complete]
    return ["image", "file"] if verb.app_options else list(dict.fromkeys(kinds))


# bash


def _bash(verbs: list[Verb]) -> str:
    groups = _groups(verbs)
    names = "|".join(dict.fromkeys([*filter(None, groups), *(verb.name for verb in verbs)]))
    global_values = "|".join(option.long for option in GLOBAL.options if _takes_value(option))
    lines = [
        "# bash completion for appc, made by `appc completion bash`",
        "_appc_offer() {",
        "    local kind",
        '    for kind in $1; do case "$kind" in',
        '        file) compopt -o filenames; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur") ;;',
        '        dir) compopt -o filenames; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$cur") ;;',
        '        pod|image) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY \\',
        '            < <(compgen -W "$(appc completion-values "$kind" 2>/dev/null)" -- "$cur") ;;',
        "    esac; done",
        "}",
        "_appc() {",
        '    local cur="${COMP_WORDS[COMP_CWORD]}" option="${COMP_WORDS[COMP_CWORD-1]}" verb="" i',
        "    COMPREPLY=()",
        '    if [[ $cur == "=" ]]; then cur=""',
        '    elif [[ $option == "=" ]]; then option="${COMP_WORDS[COMP_CWORD-2]}"; fi',
        "    for ((i = 1; i < COMP_CWORD; i++)); do",
        '        case "${COMP_WORDS[i]}" in',
        f'            {global_values}) [[ ${{COMP_WORDS[i+1]}} == "=" ]] && ((i++)); ((i++)) ;;',
        "            -*|=) ;;",
        f'            *) case "|{names}|" in',
        '                   *"|${verb:+$verb }${COMP_WORDS[i]}|"*) verb="${verb:+$verb }${COMP_WORDS[i]}" ;;',
        '                   *) verb="${verb:-?}"; break ;;',
        "               esac ;;",
        "        esac",
        "    done",
        '    case "$verb:$option" in',
    ]
    for name, option in _valued(verbs):
        offer = f'_appc_offer "{option.complete}"; return'
        if option.choices:
            offer = f'mapfile -t COMPREPLY < <(compgen -W "{" ".join(option.choices)}" -- "$cur"); return'
        elif not option.complete:
            offer = "return"
        names = "|".join(f'"{name}:{form}"' for form in (option.long, option.short) if form)
        lines.append(f"        {names}) {offer} ;;")
    lines += ["    esac", '    local words=""', '    case "$verb" in']
    by_name = {verb.name: verb for verb in verbs}
    for name in dict.fromkeys([*groups, *by_name]):
        words = [word for word, _ in groups.get(name, ())]
        offer = ""
        if name in by_name or not name:
            verb = by_name.get(name, GLOBAL)
            words += [option.long for option in _shown(verb)]
            words += [choice for operand in verb.operands for choice in operand.choices]
            if _kinds(verb):
                offer = f'; [[ $cur == -* ]] || _appc_offer "{" ".join(_kinds(verb))}"'
        lines.append(f'        "{name}") words="{" ".join(words)}"{offer} ;;')
    lines += [
        "    esac",
        '    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$words" -- "$cur")',
        "}",
        "complete -F _appc appc",
        "",
    ]
    return "\n".join(lines)


def _valued(verbs: list[Verb]) -> Iterator[tuple[str, Option]]:
    for verb in (GLOBAL, *verbs):
        for option in _shown(verb):
            if _takes_value(option):
                yield verb.name, option


# zsh


def _zsh(verbs: list[Verb]) -> str:
    groups = _groups(verbs)
    lines = [
        "#compdef appc",
        "# zsh completion for appc, made by `appc completion zsh`",
        '_appc_values() { compadd -- ${(f)"$(appc completion-values $1 2>/dev/null)"} }',
    ]
    for verb in verbs:
        specs = [_zsh_spec(option) for option in _shown(verb)]
        for kind in _kinds(verb):
            specs.append(f"'*:{kind}:{_zsh_action(kind)}'")
            break
        specs += [f"':{o.name}:({' '.join(o.choices)})'" for o in verb.operands if o.choices]
        lines.append(f"_appc_{_function(verb.name)}() {{")
        if verb.name in groups:
            lines.append(f"    (( CURRENT == 2 )) && compadd -- {' '.join(word for word, _ in groups[verb.name])}")
        lines += ["    _arguments -s \\", *_continued(specs), "}"]
    for group, members in groups.items():
        function = f"_appc_{_function(group)}_group" if group else "_appc"
        specs = [_zsh_spec(option) for option in _shown(GLOBAL)] if not group else []
        specs += ["'1: :->command'", "'*:: :->words'"]
        lines += [
            f"{function}() {{",
            '    local curcontext="$curcontext" state line',
            "    _arguments -C \\",
            *_continued(specs),
            "    case $state in",
            "        command) local -a commands=(",
            *(f"            {_quoted(word + ':' + summary)}" for word, summary in members),
            "            ); _describe command commands ;;",
            "        words) case $line[1] in",
            *(f"            {word}) {_zsh_call(f'{group} {word}'.strip(), verbs, groups)} ;;" for word, _ in members),
            "        esac ;;",
            "    esac",
            "}",
        ]
    return "\n".join((*lines, 'if [ "$funcstack[1]" = _appc ]; then _appc "$@"; else compdef _appc appc; fi', ""))


def _zsh_call(name: str, verbs: list[Verb], groups: dict[str, list[tuple[str, str]]]) -> str:
    """What completes the words after `name`: a verb, a group, or whichever of both the next word asks for."""
    verb = f"_appc_{_function(name)}"
    if name not in groups:
        return verb
    if all(name != other.name for other in verbs):
        return f"{verb}_group"
    below = "|".join(word for word, _ in groups[name])
    return f'case "$words[2]" in ({below}) {verb}_group ;; (*) {verb} ;; esac'


def _function(name: str) -> str:
    return name.replace(" ", "_").replace("-", "_")


def _continued(specs: list[str]) -> list[str]:
    return [f"        {spec} \\" for spec in specs[:-1]] + [f"        {specs[-1]}"]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _zsh_action(kind: str) -> str:
    return {"file": "_files", "dir": "_files -/", "pod": "_appc_values pod", "image": "_appc_values image"}.get(
        kind, " "
    )


def _zsh_spec(option: Option) -> str:
    text = option.help.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    suffix = f"[{text}]"
    if _takes_value(option):
        action = f"({' '.join(option.choices)})" if option.choices else _zsh_action(option.complete)
        metavar = option.metavar.replace(":", "\\:") or "word"
        suffix += f":{metavar}:{action}"
    star = "*" if option.kind in (REPEAT, LIST) else ""
    names = [option.long, *([option.short] if option.short else [])]
    if len(names) == 1:
        return _quoted(star + names[0] + suffix)
    exclusion = "" if star else f"'({' '.join(names)})'"
    return f"{exclusion}{star and _quoted(star)}{{{','.join(names)}}}{_quoted(suffix)}"


# fish


def _fish(verbs: list[Verb]) -> str:
    global_values = " ".join(option.long for option in GLOBAL.options if _takes_value(option))
    lines = [
        "# fish completion for appc, made by `appc completion fish`",
        "function __appc_words",
        "    set -l skip 0",
        "    set -l begun 0",
        "    for word in (commandline -opc)[2..-1]",
        "        if test $skip = 1",
        "            set skip 0",
        f"        else if test $begun = 0; and contains -- $word {global_values}",
        "            set skip 1",
        "        else if not string match -q -- '-*' $word",
        "            set begun 1",
        "            echo $word",
        "        end",
        "    end",
        "end",
        "function __appc_is # the words so far are these",
        '    test "$(__appc_words | string join " ")" = "$argv"',
        "end",
        "function __appc_in # the words so far begin with these",
        '    string match -q -- "$argv *" "$(__appc_words | string join " ") "',
        "end",
        "complete -c appc -f",
    ]
    groups = _groups(verbs)
    for group, members in groups.items():
        for word, summary in members:
            lines.append(f"complete -c appc -n '__appc_is {group}' -a {word} -d {_fish_quoted(summary)}")
    for option in _shown(GLOBAL):
        lines.append(_fish_option("__appc_is", option))
    for verb in verbs:
        condition = f"__appc_in {verb.name}"
        condition += "".join(f"; and not __appc_in {verb.name} {word}" for word, _ in groups.get(verb.name, ()))
        lines += [_fish_option(condition, option) for option in _shown(verb)]
        for kind in _kinds(verb):
            flag = "-F" if kind in ("file", "dir") else f"-a '(appc completion-values {kind} 2>/dev/null)'"
            lines.append(f"complete -c appc -n '{condition}' {flag}")
        for operand in verb.operands:
            if operand.choices:
                lines.append(f"complete -c appc -n '{condition}' -a '{' '.join(operand.choices)}'")
    return "\n".join((*lines, ""))


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_option(condition: str, option: Option) -> str:
    line = f"complete -c appc -n '{condition}' -l {option.long[2:]}"
    if option.short:
        line += f" -s {option.short[1:]}"
    if _takes_value(option):
        if option.complete in ("file", "dir"):
            line += " -r -F"
        elif option.complete:
            line += f" -x -a '(appc completion-values {option.complete} 2>/dev/null)'"
        else:
            line += f" -x -a '{' '.join(option.choices)}'"
    return f"{line} -d {_fish_quoted(option.help)}"
