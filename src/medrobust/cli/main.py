"""The command `medrobust`: it hands its words to one of the commands beside this file."""

import difflib
import os
import sys
from importlib import import_module

COMMANDS = {
    "train": "train a victim, or a defense that has weights",
    "evaluate": "evaluate one cell, or with -m every attack x threat x defense of a sweep",
    "report": "rebuild the table and the page of a sweep from its rows",
    "cache": "list, verify or prune adversarial sets and predictions",
    "unpack": "unpack a downloaded archive, never outside its folder",
}
"""Name -> description."""

_HYDRA = ("train", "evaluate")
_COMMAND = "MEDROBUST_COMMAND"

_HELP = """\
usage: medrobust COMMAND ...

Does this defense hold, on this data, against this attacker?

{commands}

medrobust COMMAND --help       options and choices of a command
medrobust --version
eval "$(medrobust -sc install=bash)"   completion of commands, choices and keys; also zsh, fish
"""


def main() -> int:
    """Run the command line of `sys.argv`.

    Returns:
        Exit status: 0, that of the command, or 2 for an unknown command.
    """
    first = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if first in ("-h", "--help"):
        lines = (f"  {name:<10}{text}" for name, text in COMMANDS.items())
        print(_HELP.format(commands="\n".join(lines)), end="")
        return 0
    if first == "--version":
        from medrobust import __version__

        print(f"medrobust {__version__}")
        return 0
    if first in ("-sc", "--shell-completion") or first.startswith("--shell-completion="):
        return _complete()
    if first not in COMMANDS and "LOCAL_RANK" in os.environ and _COMMAND in os.environ:
        # Lightning starts its further processes with the words of Hydra's command alone.
        return _run(os.environ[_COMMAND], sys.argv[1:])
    if first not in COMMANDS:
        near = difflib.get_close_matches(first, COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        names = ", ".join(COMMANDS)
        print(f"medrobust: unknown command {first!r}, expected {names}{hint}", file=sys.stderr)
        return 2
    return _run(first, sys.argv[2:])


def _run(name: str, words: list[str]) -> int:
    os.environ[_COMMAND] = name
    sys.argv = [sys.argv[0], *words]
    return import_module(f"medrobust.cli.{name}").main() or 0


def _complete() -> int:
    """Print completions of `COMP_LINE`, or Hydra's script for a shell."""
    line = os.environ.get("COMP_LINE", "")
    if "query" not in " ".join(sys.argv[2:]) and "query" not in sys.argv[1]:
        return _run("evaluate", sys.argv[1:])
    program, _, rest = line.lstrip().partition(" ")
    command, space, words = rest.lstrip().partition(" ")
    if not space:
        print(" ".join(name for name in COMMANDS if name.startswith(command)))
    elif command in _HYDRA:
        os.environ["COMP_LINE"] = f"{program} {words}"
        return _run(command, sys.argv[1:])
    return 0
