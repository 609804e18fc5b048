"""Round trips of texts, and texts that are refused: by which error, without showing a value."""

import base64
import copy
import logging
import pickle
import subprocess
import sys
import traceback

import pytest

from strongroom import SecretsManager
from strongroom.encryption import FieldCipher
from strongroom.errors import (
    AlteredTextError,
    InvalidDataError,
    PlainTextError,
    UnknownKeyError,
)
from strongroom.logging import RedactingFilter
from strongroom.secret import SensitiveStr
from strongroom.store.memory import MemoryStore
from strongroom.testing import override

PATH = "columns/customer"
KEYS = {"primary": "48291", "48291": "k" * 43, "61332": "o" * 43}
CANARY = "DE89-canary-4711"


@pytest.fixture
def store():
    store = MemoryStore()
    store.write(PATH, KEYS)
    return store


@pytest.fixture
def manager(store):
    with SecretsManager(chain=[store]) as manager:
        yield manager


@pytest.fixture
def cipher(manager):
    return FieldCipher(PATH, "customer.iban", manager=manager)


def leaks(error):
    """Return what an error shows of a value or a key, with the local variables of this package's frames."""
    found = [f"{error} {error!r} {vars(error)} {error.args}"]
    each = error
    while each is not None:
        frames = [frame for frame, _ in traceback.walk_tb(each.__traceback__)]
        inside = [frame for frame in frames if "/strongroom/" in frame.f_code.co_filename]
        found += [repr(value) for frame in inside for value in frame.f_locals.values()]
        each = each.__cause__ or each.__context__
    return [text for text in found if CANARY in text or KEYS["48291"] in text]


@pytest.mark.parametrize("value", ["", "x", "Zoë 🦉 \x00", "ü" * 500_000, SensitiveStr("secret")])
def test_text_is_read_back(cipher, value):
    text = cipher.encrypt(value)
    assert text.startswith("sr1.48291.")
    assert cipher.decrypt(text) == value
    assert cipher.encrypt(value) != text


@pytest.mark.parametrize("value", [b"", b"\xff\x00", bytes(1_000_000)])
def test_bytes_are_read_back(cipher, value):
    assert cipher.decrypt_bytes(cipher.encrypt_bytes(value)) == value


@pytest.mark.parametrize("value", [None, True, 1.5, "ü", [1, {"a": None}], {}])
def test_json_is_read_back(cipher, value):
    assert cipher.decrypt_json(cipher.encrypt_json(value)) == value


def test_a_short_text_has_74_characters(cipher):
    """For 20 bytes, of which Fernet makes 120."""
    assert len(cipher.encrypt("x" * 20)) == 74


@pytest.mark.parametrize(
    ("method", "value", "fault"),
    [
        ("encrypt", 4711, "takes text that UTF-8 can encode, and not this int"),
        ("encrypt", CANARY.encode(), "and not this bytes"),
        ("encrypt", CANARY + "\ud800", "and not this str"),
        ("encrypt_bytes", CANARY, "takes bytes, and not this str"),
        ("encrypt_json", {CANARY: object()}, "takes what JSON can hold, and not this dict"),
        ("encrypt_json", float("nan"), "and not this float"),
    ],
)
def test_a_value_of_another_type_is_refused_without_showing_it(cipher, method, value, fault):
    with pytest.raises(InvalidDataError, match=fault) as caught:
        getattr(cipher, method)(value)
    del value
    assert not leaks(caught.value)


def altered(text):
    """Return each kind of change of a text, and its name."""
    prefix, _, body = text.rpartition(".")
    raw = bytearray(base64.b64decode(body))
    for index in (0, 12, len(raw) - 1):
        changed = raw.copy()
        changed[index] ^= 1
        yield f"byte {index}", f"{prefix}.{base64.b64encode(changed).decode()}"
    yield "cut", text[:-4]
    yield "no body", f"{prefix}."
    yield "no base64", f"{prefix}.{body[:-4]}!!!!"
    yield "another key", text.replace("48291", "61332")
    yield "a line feed", f"{text}\n"


@pytest.mark.parametrize("value", ["x", "xy", "xyz"])
def test_a_text_has_one_form(cipher, value):
    """Base64 leaves spare bits: with other ones the bytes are the same, and the text is refused."""
    text = cipher.encrypt(value)
    body = text.rpartition(".")[2]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = len(body.rstrip("=")) - 1
    twins = {body[:last] + each + body[last + 1 :] for each in alphabet} - {body}
    same = [twin for twin in twins if base64.b64decode(twin) == base64.b64decode(body)]
    assert len(same) == {0: 0, 1: 3, 2: 15}[body.count("=")]
    for twin in same:
        with pytest.raises(AlteredTextError):
            cipher.decrypt(text.replace(body, twin))


@pytest.mark.parametrize("method", ["decrypt", "decrypt_bytes", "decrypt_json", "is_current"])
@pytest.mark.parametrize("text", [None, b"", 5])
def test_what_is_no_text_is_refused(cipher, method, text):
    with pytest.raises(InvalidDataError, match=r"customer\.iban has texts, and got"):
        getattr(cipher, method)(text)


def test_an_altered_text_is_refused(cipher):
    for name, text in altered(cipher.encrypt(CANARY)):
        with pytest.raises(AlteredTextError, match=r"Altered text: a text of customer\.iban") as caught:
            cipher.decrypt(text)
        assert not leaks(caught.value), name


def test_a_text_of_another_column_is_refused(cipher, manager):
    with pytest.raises(AlteredTextError):
        FieldCipher(PATH, "customer.note", manager=manager).decrypt(cipher.encrypt("x"))


def test_a_text_of_another_row_is_refused_if_rows_are_named(cipher):
    text = cipher.encrypt("x", row="1")
    assert cipher.decrypt(text, row="1") == "x"
    with pytest.raises(InvalidDataError, match="row= takes text"):
        cipher.encrypt("x", row=1)
    for row in ("2", "", None):
        with pytest.raises(AlteredTextError):
            cipher.decrypt(text, row=row)
    with pytest.raises(AlteredTextError):
        cipher.decrypt(cipher.encrypt("x"), row="")


@pytest.mark.parametrize("text", [CANARY, "", "sr1.", "sr1.48291", "sr2.48291.AAAA", "SR1.48291.AAAA"])
def test_plain_text_is_refused_unless_there_is_a_way_to_read_it(manager, cipher, text):
    with pytest.raises(PlainTextError, match="Pass legacy=") as caught:
        cipher.decrypt(text)
    assert not leaks(caught.value)
    assert FieldCipher(PATH, "customer.iban", legacy=str, manager=manager).decrypt(text) == text


def test_a_legacy_decryption_that_fails_shows_nothing(manager):
    def refuse(text):
        raise ValueError(text)

    with pytest.raises(AlteredTextError, match="has no key id, and legacy= raised ValueError") as caught:
        FieldCipher(PATH, "customer.iban", legacy=refuse, manager=manager).decrypt(CANARY)
    assert CANARY not in f"{caught.value} {caught.value.__context__!r}"


@pytest.mark.parametrize("method", ["decrypt", "decrypt_json"])
def test_bytes_are_not_shown_by_the_error_of_another_type(cipher, method):
    with pytest.raises(AlteredTextError) as caught:
        getattr(cipher, method)(cipher.encrypt_bytes(CANARY.encode() + b"\xff"))
    assert not leaks(caught.value)
    assert caught.value.__context__ is None


def test_texts_of_a_former_name_are_read_and_not_current(manager, cipher):
    """Only the present name encrypts, so that a rewrap ends."""
    text = cipher.encrypt("x")
    renamed = FieldCipher(PATH, ("client.iban", "customer.iban"), manager=manager)
    assert renamed.decrypt(text) == "x"
    assert not renamed.is_current(text)
    again = renamed.encrypt("x")
    assert renamed.is_current(again)
    with pytest.raises(AlteredTextError):
        cipher.decrypt(again)


def test_a_text_of_an_older_key_is_read_and_not_current(store, manager, cipher):
    text = cipher.encrypt("x")
    store.write(PATH, {**KEYS, "primary": "61332"})
    later = FieldCipher(PATH, "customer.iban", manager=SecretsManager(chain=[store]))
    assert later.decrypt(text) == "x"
    assert not later.is_current(text)
    assert later.is_current(later.encrypt("x"))


def test_an_unknown_key_is_named(cipher):
    with pytest.raises(UnknownKeyError, match="has no key 99999") as caught:
        cipher.decrypt("sr1.99999." + "A" * 60)
    assert (caught.value.path, caught.value.column, caught.value.key_id) == (PATH, "customer.iban", "99999")
    assert "strongroom history columns/customer" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_the_id_of_a_key_stays_in_a_log(manager, cipher):
    """The redacting filter hides the keys, and takes an id for no value."""
    redacting = RedactingFilter()
    manager.get_secret(PATH)
    record = logging.makeLogRecord({"msg": f"{cipher.encrypt('x')} {KEYS['48291']}"})
    redacting.filter(record)
    assert record.getMessage().startswith("sr1.48291.")
    assert KEYS["48291"] not in record.getMessage()


def test_copies_and_pickles_hold_neither_keys_nor_a_manager():
    with override({PATH: KEYS}):
        cipher = FieldCipher(PATH, "customer.iban")
        text = cipher.encrypt("x")
        data = pickle.dumps(cipher)
        assert b"kkkk" not in data
        assert pickle.loads(data).decrypt(text) == copy.deepcopy(cipher).decrypt(text) == "x"
        assert "k" * 43 not in f"{cipher!r} {vars(cipher)!r}"


def test_the_default_manager_is_looked_up_at_each_use():
    cipher = FieldCipher(PATH, "customer.iban")
    with override({PATH: KEYS}):
        text = cipher.encrypt("x")
    with override({PATH: {"key": "n" * 32}}), pytest.raises(UnknownKeyError):
        cipher.decrypt(text)


def test_an_import_does_not_load_the_library_of_the_cipher():
    code = "import sys, strongroom.encryption; sys.exit('cryptography.hazmat.primitives.ciphers.aead' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
