"""The pages of the documentation as blocks of code, tables and links."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_MARKS = re.compile(r"((?:<!--[^>]*-->\s*)+)\Z")
_MARK = re.compile(r"<!-- *(.*?) *-->")
_INLINE = re.compile(r"`(medrobust (?:train|evaluate|report|cache|unpack) [^`…<]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: path relative to the repository.
        language: `sh`, `python`, `yaml`, ….
        text: its lines.
        run: marked with `<!-- run -->`: runs as it stands, on generated data.
        file: file that it is, from `<!-- file: NAME -->`; or None.
    """

    page: str
    language: str
    text: str
    run: bool
    file: str | None


@dataclass(frozen=True)
class Command:
    """A shell command of a page.

    Attributes:
        page: path relative to the repository.
        words: the command's words without assignments of variables and comments.
    """

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


@cache
def blocks() -> tuple[Block, ...]:
    """All fenced blocks of all pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for fence in _FENCE.finditer(text):
            before = _MARKS.search(text, 0, fence.start())
            marks = _MARK.findall(before[1]) if before else []
            files = [mark.partition(":")[2].strip() for mark in marks if mark.startswith("file:")]
            name = page.relative_to(ROOT).as_posix()
            found.append(
                Block(name, fence[2], fence[3], "run" in marks, files[0] if files else None)
            )
    return tuple(found)


@cache
def commands() -> tuple[Command, ...]:
    """All shell commands: the lines of `sh` blocks, and whole commands in running text."""
    found = [
        Command(block.page, words)
        for block in blocks()
        if block.language == "sh"
        for words in _lines(block.text)
    ]
    for page in PAGES:
        prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
        for inline in _INLINE.findall(prose):
            name = page.relative_to(ROOT).as_posix()
            found += [Command(name, words) for words in _lines(inline)]
    return tuple({command.words: command for command in reversed(found)}.values())[::-1]


def write_files(folder: Path) -> None:
    """Write the blocks that are files."""
    for block in blocks():
        if block.file is not None:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")


def _lines(text: str) -> Iterator[tuple[str, ...]]:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words:
            yield tuple(words)
