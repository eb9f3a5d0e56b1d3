"""`xytok completion`: prints a completion script for bash, zsh or fish, made from the parser."""

import argparse

EXAMPLE = 'eval "$(xytok completion bash)"'

_BASH = """\
_xytok() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" verb="" w
  for w in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$w" in {verbs}) verb="$w"; break ;; esac
  done
  case "$verb" in
{cases}
    *) COMPREPLY=($(compgen -W "{words}" -- "$word")) ;;
  esac
}}
complete -o default -F _xytok xytok
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the job's arguments."""
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    options = _options_by_verb()
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell](options), end="")
    return 0


def _options_by_verb() -> dict[str, list[str]]:
    from jobs.cli import JOBS, load_job

    options: dict[str, list[str]] = {}
    for verb in JOBS:
        parser = argparse.ArgumentParser(add_help=True)
        load_job(verb).add_arguments(parser)
        flags = [flag for action in parser._actions for flag in action.option_strings]
        options[verb] = sorted(flag for flag in flags if flag.startswith("--"))
    return options


def _bash(options: dict[str, list[str]]) -> str:
    cases = (
        f'    {verb}) [[ "$word" == -* ]] && '
        f'COMPREPLY=($(compgen -W "{" ".join(flags)}" -- "$word")) ;;'
        for verb, flags in options.items()
    )
    words = " ".join([*options, "--help", "--version"])
    return _BASH.format(verbs="|".join(options), cases="\n".join(cases), words=words)


def _zsh(options: dict[str, list[str]]) -> str:
    # Zsh runs the bash form as it is.
    return "autoload -U +X bashcompinit && bashcompinit\n" + _bash(options)


def _fish(options: dict[str, list[str]]) -> str:
    from jobs.cli import JOBS

    lines = []
    for verb, flags in options.items():
        summary = JOBS[verb][1].replace("'", "\\'")
        first = "complete -c xytok -n __fish_use_subcommand"
        lines.append(f"{first} -a {verb} -d '{summary}'")
        seen = f"complete -c xytok -n '__fish_seen_subcommand_from {verb}'"
        lines += [f"{seen} -l {flag.removeprefix('--')}" for flag in flags]
    return "\n".join(lines) + "\n"
