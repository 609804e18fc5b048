"""Reading a `.env` file: python-dotenv's grammar, what is said aloud, and that no value is shown."""

from __future__ import annotations

import io
import logging
import os
import threading
import time
import traceback
from pathlib import Path

import dotenv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import ConfigurationError
from strongroom.formats import dotenv as dotenv_reader
from strongroom.formats.dotenv import MAX_BLANKS, MAX_LINES, MAX_NOTES, MAX_SIZE, parse_dotenv, read_dotenv
from support.descriptors import open_descriptors

CANARY = "canary-5f1d0c"


@pytest.fixture(autouse=True)
def _nothing_logged_yet(monkeypatch):
    monkeypatch.setattr(dotenv_reader, "_logged", set())


@pytest.fixture
def file(tmp_path):
    """Writes a .env file that its owner alone may read."""

    def write(content, mode=0o600):
        path = tmp_path / ".env"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    return write


def plain(found):
    return {name: str(value) for name, value in found.values.items()}


class TestGrammar:
    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ("A=1", {"A": "1"}),
            ("\ufeffA=1\n", {"A": "1"}),
            ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
            ("export A=1\n", {"A": "1"}),
            ("# comment\n\nA=1 # why\n", {"A": "1"}),
            ("A=${OTHER}\nB='${OTHER}'\nC=\"$OTHER\"\n", {"A": "${OTHER}", "B": "${OTHER}", "C": "$OTHER"}),
            ("A=\nB=''\n", {"A": "", "B": ""}),
            ('A="one\r\ntwo"\r\nB=2', {"A": "one\ntwo", "B": "2"}),
            ("A=p#q%&*=é\n", {"A": "p#q%&*=é"}),
            ("", {}),
        ],
    )
    def test_values(self, text, values):
        """BOM, CRLF, export, comments, quotes and references are read as they are meant, without a note."""
        found = parse_dotenv(text)
        assert plain(found) == values
        assert found.notes == ()

    @given(st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), st.text(st.characters(codec="utf-8"))))
    def test_agrees_with_python_dotenv(self, values):
        """What is quoted by the rules comes back, and as python-dotenv reads it."""
        values = {name: value.replace("\0", "").replace("\r", "") for name, value in values.items()}
        quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in values.items()}
        text = "".join(f"{name}='{value}'\n" for name, value in quoted.items())
        assert plain(parse_dotenv(text)) == values
        assert dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False) == values


class TestNotes:
    def test_duplicate(self):
        """The last of duplicates counts, and each but the first is reported with both lines."""
        found = parse_dotenv("A=1\nB=2\n\nA=3\nA=4\n")
        assert plain(found) == {"A": "4", "B": "2"}
        assert found.notes == (
            "line 4 sets A again, after line 1: the last one counts",
            "line 5 sets A again, after line 4: the last one counts",
        )

    def test_bare_name(self):
        """A name without a value is not set; its text is not shown, since it may be a pasted key."""
        found = parse_dotenv(f"A=1\n{CANARY}\n")
        assert plain(found) == {"A": "1"}
        assert found.notes == ("line 2 has a name without a value: it counts as not set",)

    def test_bare_duplicate_keeps_the_value(self):
        """A bare name after an assignment does not unset it."""
        assert plain(parse_dotenv("A=1\nexport A\n")) == {"A": "1"}

    def test_quote_closed_by_a_later_one(self):
        """A quote that was left open and ends at another variable's quote is legal, and reported."""
        found = parse_dotenv(f'A="{CANARY}\nB=2\nC="\n')
        assert found.notes == ("the value that starts at line 1 runs over another NAME=: is a quote left open?",)

    def test_backticks_on_one_line_are_part_of_the_value(self):
        """As python-dotenv has it. Only one that is left open may be the quote of a text of several lines."""
        values = {"A": "`a`", "B": "b`c", "C": "`d", "D": "`e`f"}
        assert plain(parse_dotenv("A=`a`\nB=b`c\nC='`d'\nD=`e`f\n")) == values

    def test_a_pem_key_in_quotes_is_nothing_special(self):
        """A value of several lines is no sign of a mistake."""
        pem = "-----BEGIN KEY-----\nMIIB+/x=\nabc==\n-----END KEY-----"
        found = parse_dotenv(f'KEY="{pem}"\n')
        assert (plain(found), found.notes) == ({"KEY": pem}, ())


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "line"),
        [
            (f'A=1\n\n\nB="{CANARY}\nC=3\n', 4),
            (f"A='{CANARY}\n", 1),
            (f'A="{CANARY}\nB="d"\n', 1),
            (f"A=1\nMY NAME={CANARY}\n", 2),
            (f"={CANARY}\n", 1),
            (f'A="x" {CANARY}\n', 1),
            (f"A=1\nB=\0{CANARY}\n", 2),
            (f"A=1\nKEY=`-----BEGIN KEY-----\n{CANARY}\n-----END KEY-----`\n", 2),
            (f"export KEY = `{CANARY}\\`", 1),
        ],
    )
    def test_names_file_and_line_only(self, text, line):
        """A line that cannot be read is an error with its file and number, never skipped, and its text is not shown."""
        with pytest.raises(ConfigurationError, match=rf"^conf/\.env, line {line}: ") as caught:
            parse_dotenv(text, "conf/.env")
        assert CANARY not in str(caught.value)
        assert caught.value.__context__ is None

    @pytest.mark.parametrize(
        "content", [f'A="{CANARY}\n', f"A={CANARY}\n=x\n", f"A={CANARY}\0", CANARY.encode() + b"\xff", CANARY * 100_000]
    )
    def test_locals_show_nothing(self, file, content):
        """A traceback printed with the locals of its frames shows nothing of the file."""
        path = file(content)
        with pytest.raises(ConfigurationError) as caught:
            read_dotenv(path)
        # The first frame is this test's own, which knows the content.
        inner = caught.value.with_traceback(caught.value.__traceback__.tb_next)
        assert CANARY not in "".join(traceback.TracebackException.from_exception(inner, capture_locals=True).format())

    def test_not_utf_8(self, file):
        """A file in another encoding is an error with the line, and the decoder's copy of the file is not kept."""
        with pytest.raises(ConfigurationError, match="line 2: it is not UTF-8") as caught:
            read_dotenv(file(b"A=1\nB=" + CANARY.encode() + b"\xff\n"))
        assert caught.value.__context__ is None
        assert CANARY not in "".join(traceback.format_exception(caught.value))

    def test_too_large(self, file):
        """A file of more than 1 MiB is refused, one of exactly that is read."""
        assert plain(read_dotenv(file("A=" + "x" * (MAX_SIZE - 2))))["A"].endswith("x")
        with pytest.raises(ConfigurationError, match="more than 1,048,576 bytes"):
            read_dotenv(file("A=" + "x" * (MAX_SIZE - 1)))

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("A=1\n" * (MAX_LINES + 1), f"more than {MAX_LINES:,} lines"),
            ("A\r" * (MAX_LINES + 1), f"more than {MAX_LINES:,} lines"),
            ("A=1\nB=x" + " " * (MAX_BLANKS + 1) + "y\n", f"line 2: more than {MAX_BLANKS} blanks in a row"),
            ("A='x" + "\t\v" * MAX_BLANKS + "y'\n", f"line 1: more than {MAX_BLANKS} blanks in a row"),
        ],
    )
    def test_a_hostile_file_is_refused_before_it_is_parsed(self, file, monkeypatch, text, says):
        """python-dotenv would need seconds for it, in every process that starts there."""
        monkeypatch.setattr("dotenv.parser.parse_stream", lambda stream: pytest.fail("it was parsed"))
        with pytest.raises(ConfigurationError, match=says):
            read_dotenv(file(text))

    def test_many_lines_in_one_value_take_linear_time(self, file):
        """They took nine seconds."""
        begun = time.process_time()
        assert plain(read_dotenv(file('A="' + "\n" * 16_000 + '"\n'))) == {"A": "\n" * 16_000}
        assert time.process_time() - begun < 2

    def test_notes_are_bounded(self, file):
        """A name that is repeated thousands of times is not logged as often."""
        dotenv = parse_dotenv("A=1\n" * 1_000)
        assert len(dotenv.notes) == MAX_NOTES
        assert dotenv.notes[-1] == "it has 900 more such lines"


class TestFile:
    def test_missing(self, tmp_path):
        """No file is FileNotFoundError. A folder of that name, such as a virtual environment, is IsADirectoryError."""
        (tmp_path / ".env").mkdir()
        with pytest.raises(FileNotFoundError):
            read_dotenv(tmp_path / "none")
        with pytest.raises(IsADirectoryError):
            read_dotenv(tmp_path / ".env")

    def test_descriptors_are_closed(self, tmp_path):
        """A refused file leaves no descriptor open."""
        before = open_descriptors()
        for _ in range(5):
            with pytest.raises(IsADirectoryError):
                read_dotenv(tmp_path)
        assert open_descriptors() <= before

    def test_pipe(self, tmp_path):
        """A pipe is refused at once instead of waited for."""
        os.mkfifo(tmp_path / ".env")
        with pytest.raises(OSError, match="not a regular file"):
            read_dotenv(tmp_path / ".env")

    def test_the_environment_is_left_alone(self, file):
        """Reading puts nothing into os.environ."""
        before = dict(os.environ)
        read_dotenv(file("STRONGROOM_TEST_LEFT_ALONE=1\n"))
        assert dict(os.environ) == before

    def test_readable_by_others(self, file, caplog):
        """A file that others may read is reported, once in a process; one of mode 0600 is not."""
        for _ in range(3):
            read_dotenv(file("A=1\n", 0o600))
        assert caplog.messages == []
        for _ in range(3):
            read_dotenv(file("A=1\n", 0o640))
        assert len(caplog.messages) == 1
        assert "chmod 600" in caplog.text

    def test_notes_are_logged_once(self, file, caplog):
        """Each note is logged with the file's name once, from however many threads, and without a value."""
        caplog.set_level(logging.DEBUG)
        path = file(f"A={CANARY}\nA={CANARY}\n{CANARY}\n")
        threads = [threading.Thread(target=read_dotenv, args=(path,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(caplog.messages) == [
            f"{path}: line 2 sets A again, after line 1: the last one counts",
            f"{path}: line 3 has a name without a value: it counts as not set",
        ]

    def test_a_file_under_two_names_is_reported_once(self, file, caplog):
        """`./.env` is read by its name, and as a store by its whole path."""
        path = file("A=1\n", 0o640)
        os.chdir(path.parent)
        read_dotenv(Path(path.name))
        read_dotenv(path)
        assert len(caplog.messages) == 1

    def test_values_are_redacted(self, file):
        """What was read shows no value, as a whole and one by one."""
        found = read_dotenv(file(f"A={CANARY}\n"))
        assert CANARY not in repr(found) + repr(found.values) + repr(found.get("A"))
        assert found.get("A") == CANARY
        assert found.get("B") == ""
