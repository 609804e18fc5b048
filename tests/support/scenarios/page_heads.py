"""The head of a how-to page: who it is for, what to install, and a first example that runs by itself."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import NamedTuple

from support.scenarios import page_blocks, pages

MOST_LINES = 8
"""Lines of the first example, without the blank ones and the commands that run it."""

_FRONT_MATTER = re.compile(r"\A---\n.*?^---\n+", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->\n*", re.DOTALL)
_BLOCK = re.compile(r"^```(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of a page: its language, and its text."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that the block is, or None."""
        named = page_blocks.FILE.match(self.text)
        return named[1] if named else None


class Head(NamedTuple):
    """The beginning of a page.

    Attributes:
        reader: the paragraph below the title.
        install: the lines of the first block.
        example: the files of the first example and the block that uses them, or this block alone.
    """

    reader: str
    install: tuple[str, ...]
    example: tuple[Block, ...]

    @property
    def requirements(self) -> list[str]:
        """The packages that the page installs."""
        return shlex.split(self.install[0])[2:]

    def faults(self) -> list[str]:
        """Return the rules that the head breaks."""
        found = []
        if not re.fullmatch(r"For .+?: .+\.", self.reader) or re.search(r"\. [A-Z]", self.reader):
            found.append("the first paragraph must be one sentence, 'For <who>: <what the page gives>.'")
        if len(self.install) != 1 or not self.install[0].startswith("pip install "):
            found.append("the first block must be ```sh with one line, `pip install …`")
        if not self.example or self.example[-1].language not in {"python", "console"} or self.example[-1].file:
            found.append("the first example must end with ```python or with the ```console that runs it")
        counted = self.example[:-1] or self.example
        if (lines := sum(bool(line.strip()) for block in counted for line in block.text.splitlines())) > MOST_LINES:
            found.append(f"the first example has {lines} lines of at most {MOST_LINES}")
        return found

    def run(self) -> str | None:
        """Run the example with the programs on PATH, and return what went wrong."""
        try:
            for language, text in self.example:
                if (name := page_blocks.FILE.match(text)) is not None:
                    page_blocks.save(name[1], text)
                elif language == "python":
                    done = subprocess.run(["python", "-c", text], capture_output=True, text=True, check=False)
                    if done.returncode or done.stderr:
                        return f"exit code {done.returncode}:\n{done.stderr}"
                elif fault := page_blocks.check_sessions(text, page_blocks.run_line):
                    return fault
        finally:
            page_blocks.end_commands()
        return None


def head(page: Path) -> Head:
    """Return the head of a page, well-formed or not."""
    text = _COMMENT.sub("", _FRONT_MATTER.sub("", page.read_text("utf-8")))
    _, _, body = text.partition("\n\n")
    reader = " ".join(body.partition("\n\n")[0].split())
    blocks = [Block(*found) for found in _BLOCK.findall(body)]
    install: tuple[str, ...] = ()
    if blocks and blocks[0].language == "sh":
        install = tuple(blocks.pop(0).text.splitlines())
    files = next((number for number, block in enumerate(blocks) if block.file is None), len(blocks))
    return Head(reader, install, tuple(blocks[: files + 1]))


def opening(page: Path) -> str:
    """Return the text of a page up to the end of its first example."""
    text = page.read_text("utf-8")
    last = head(page).example[-1].text
    return text[: text.index(last) + len(last)] + "```\n"


def how_to_pages() -> list[Path]:
    """Return the pages that must have a head: those in a folder. The others are lists to look in."""
    return [page for page in pages.pages() if page.parent.parent == pages.DOCS / "how-to" and page.name != "index.md"]
