from __future__ import annotations

from itertools import product
from urllib.parse import unquote, unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.policy.texts import check_path
from gateway.routing.matching import folded
from gateway.routing.path import canonical_path


@pytest.mark.parametrize(
    ("case", "raw", "canonical"),
    [
        ("the root", b"/", "/"),
        ("an ordinary path", b"/api/v1/projects/42", "/api/v1/projects/42"),
        ("a slash at the end stays", b"/api/", "/api/"),
        ("reserved characters stay", b"/a:b@c!$&'()*+,=~", "/a:b@c!$&'()*+,=~"),
        ("dots within names stay", b"/a.b/..c/d../...", "/a.b/..c/d../..."),
        ("a well-known folder", b"/.well-known/x", "/.well-known/x"),
        ("escapes of plain characters go", b"/%61%2D%2e%5F%7e%39", "/a-._~9"),
        ("other escapes are upper case", b"/caf%c3%a9%20", "/caf%C3%A9%20"),
        ("reserved escapes stay", b"/a%3ab%3B%23%3f", "/a%3Ab%3B%23%3F"),
        ("empty segments go", b"//a///b//", "/a/b/"),
        ("a dot segment goes", b"/./a/./b/.", "/a/b/"),
        ("two dots take the one before along", b"/a/b/../c", "/a/c"),
        ("also at the end", b"/a/b/..", "/a/"),
        ("never above the root", b"/../../a/../../b", "/b"),
        ("down to the root", b"/a/..", "/"),
        ("in any spelling", b"/a/%2e%2E/b/.%2e/%2e", "/"),
        ("empty segments are no segments to go back over", b"/a//../b", "/b"),
        ("an encoded percent sign stays", b"/100%25", "/100%25"),
        ("also before what is no escape", b"/100%25zz", "/100%25zz"),
        ("and before an escape of something else", b"/50%25%20off", "/50%25%20off"),
        ("characters URLs should not hold are left alone", b'/"<>[]^`{|}', '/"<>[]^`{|}'),
        ("emoji", b"/%F0%9F%98%80", "/%F0%9F%98%80"),
        ("encoded line ends stay encoded", b"/%0d%0aX-Evil:1", "/%0D%0AX-Evil:1"),
    ],
)
def test_one_spelling(case: str, raw: bytes, canonical: str) -> None:
    assert canonical_path(raw) == canonical


@pytest.mark.parametrize(
    ("case", "raw"),
    [
        ("nothing", b""),
        ("no slash first", b"a"),
        ("the asterisk", b"*"),
        ("a whole URL", b"http://a/b"),
        ("an encoded slash", b"/a%2fb"),
        ("an encoded backslash", b"/a%5Cb"),
        ("an encoded NUL", b"/a%00"),
        ("a backslash", b"/a\\b"),
        ("a path parameter", b"/a;b=c"),
        ("a fragment", b"/a#b"),
        ("a query", b"/a?b"),
        ("a space", b"/a b"),
        ("a tab", b"/a\tb"),
        ("a line end", b"/a\n"),
        ("a carriage return", b"/a\r"),
        ("a NUL", b"/a\x00"),
        ("a DEL", b"/a\x7f"),
        ("raw UTF-8", "/é".encode()),
        ("a raw byte", b"/\xff"),
        ("half an escape", b"/a%4"),
        ("no escape", b"/a%"),
        ("not hexadecimal", b"/a%zz"),
        ("an escape of half an escape", b"/%%32e"),
        ("a wide escape", b"/%u002e"),
        ("a signed escape", b"/%+1"),
        ("an overlong slash", b"/%c0%af"),
        ("an overlong dot", b"/%c0%ae%c0%ae/"),
        ("a longer overlong slash", b"/%e0%80%af"),
        ("a surrogate", b"/%ed%a0%80"),
        ("half a character", b"/%c3"),
        ("halves apart", b"/%c3/%a9"),
        ("beyond Unicode", b"/%f4%90%80%80"),
        ("a dot encoded twice", b"/%252e%252e/"),
        ("a slash encoded twice", b"/a%252Fb"),
        ("a backslash encoded twice", b"/a%255cb"),
        ("a percent sign encoded twice", b"/a%2525"),
        ("a letter encoded twice", b"/%2570remium"),
        ("a dot encoded twice, in pieces", b"/%25%32%65"),
        ("a dot encoded thrice", b"/%25252e"),
    ],
)
def test_refused_with_a_reason_that_repeats_nothing(case: str, raw: bytes) -> None:
    with pytest.raises(BadRequest) as refusal:
        canonical_path(raw)
    assert refusal.value.detail.startswith("The path ")
    assert refusal.value.status == 400
    assert raw.decode("latin-1") not in refusal.value.detail or len(raw) < 2


def _escaped(byte: int) -> str:
    return f"%{byte:02x}"


segments = st.text(alphabet=st.sampled_from("ab.-%2eEfF5cC/0:;é \\*~+"), max_size=8)
anything = st.one_of(
    st.binary(max_size=24),
    st.lists(segments, max_size=5).map(lambda parts: ("/" + "/".join(parts)).encode()),
    st.lists(st.integers(0, 255).map(_escaped) | st.sampled_from("/.a%"), max_size=12).map(
        lambda parts: ("/" + "".join(parts)).encode()
    ),
)


@settings(max_examples=300)
@given(anything)
def test_the_canonical_spelling_is_its_own(raw: bytes) -> None:
    try:
        once = canonical_path(raw)
    except BadRequest:
        return
    assert canonical_path(once.encode()) == once


@settings(max_examples=300)
@given(anything)
def test_nothing_dangerous_is_left(raw: bytes) -> None:
    try:
        path = canonical_path(raw)
    except BadRequest:
        return
    decoded = unquote_to_bytes(path)
    assert path.startswith("/")
    assert path.isascii()
    assert path.isprintable()
    assert "//" not in path
    assert not {".", ".."} & set(path.split("/"))
    assert not {b".", b".."} & set(decoded.split(b"/"))
    assert decoded.count(b"/") == path.count("/")
    assert b"\\" not in decoded
    assert b"\x00" not in decoded
    decoded.decode("utf-8")


def _spellings(character: str) -> list[str]:
    code = ord(character)
    once = [character, f"%{code:02x}", f"%{code:02X}"]
    return [*once, f"%25{code:02x}", f"%%{code:02x}", f"%C0%{0x80 | code & 0x3F:02x}", f"%u{code:04x}"]


PREMIUM_SPELLINGS = sorted(
    {
        before + slash.join(("premium".replace("p", letter), "x" + after))
        for before, letter, slash, after in product(
            [
                "/",
                "//",
                "/./",
                "/../",
                "/free/../",
                "/free/%2e%2e/",
                "/free/..;/",
                "/%2e/",
                "/%252e%252e/",
                "\\",
                "/;/",
            ],
            _spellings("p"),
            ["/", "//", "/./", "%2f", "%2F", "\\", "%5c", ";/", "/a/../", "%252f", "%c0%af"],
            ["", "/", ".", "/.", "%20", "%00", ";", "#", "/..", "/../x"],
        )
    }
)


def _reads_as(path: str) -> set[str]:
    """What an upstream may make of a path: as it is, decoded once, decoded twice."""
    return {path, unquote(path), unquote(unquote(path))}


def test_no_spelling_of_a_path_goes_by_another_name() -> None:
    """Whatever an upstream would read as /premium/x is spelled /premium/x, or refused."""
    assert len(PREMIUM_SPELLINGS) > 2000
    passed = set()
    for spelling in PREMIUM_SPELLINGS:
        try:
            path = canonical_path(spelling.encode())
        except BadRequest:
            continue
        passed.add(path)
        if path.rstrip("/") != "/premium/x":
            assert not {reading.rstrip("/") for reading in _reads_as(path)} & {"/premium/x"}, spelling
    assert "/premium/x" in passed


@given(st.lists(st.sampled_from("premiux/.%27 0+_é"), min_size=1, max_size=6), st.data())
def test_any_escaping_of_a_path_is_the_same_path(letters: list[str], data: st.DataObject) -> None:
    plain = "/" + "".join(letters)
    raw = ""
    for character in plain:
        escaped = "".join(f"%{byte:02x}" for byte in character.encode())
        must = character in "% é"
        may = character != "/" and data.draw(st.booleans())
        raw += escaped if must or may else character
    try:
        path = canonical_path(raw.encode())
    except BadRequest:
        assert "%" in plain, "only what looks like a second escape may be refused"
        return
    minimal = "".join(
        "".join(f"%{byte:02x}" for byte in character.encode()) if character in "% é" else character
        for character in plain
    )
    assert folded(path) == folded(canonical_path(minimal.encode()))


@given(st.lists(st.text(alphabet="ab.*%:@~éC3A9+= ", min_size=1, max_size=6), min_size=1, max_size=3))
def test_what_policies_take_for_canonical_is_canonical(parts: list[str]) -> None:
    pattern = "/" + "/".join(parts)
    try:
        check_path(pattern)
    except ValueError:
        return
    assert canonical_path(pattern.encode()) == pattern
