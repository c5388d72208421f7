from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import sources as module
from gateway.policy.problems import Problems
from gateway.policy.sources import LARGEST_FILE, Sources, SourcesUnreadable, fingerprint, read_folder


def _read(folder: Path) -> tuple[list[str], list[str]]:
    problems = Problems()
    sources = read_folder(folder, problems)
    return [name for name, _ in sources.files], [problem.message for problem in problems]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    (folder / "tiers").mkdir(parents=True)
    (folder / "b.yaml").write_text("b")
    (folder / "a.yml").write_text("a")
    (folder / "tiers" / "c.YAML").write_text("c")
    return folder


def test_files_come_in_the_order_of_their_paths(folder: Path) -> None:
    (folder / "tollway.schema.json").write_text("{}")
    (folder / "README.md").write_text("hello")
    assert _read(folder) == (["a.yml", "b.yaml", "tiers/c.YAML"], [])


def test_drafts_and_older_versions_are_left_out(folder: Path) -> None:
    (folder / ".b.yaml.swp").write_text("x")
    (folder / ".#b.yaml").write_text("x")
    (folder / "..2026_01").mkdir()
    (folder / "..2026_01" / "b.yaml").write_text("x")
    assert _read(folder) == (["a.yml", "b.yaml", "tiers/c.YAML"], [])


def test_a_mounted_config_map_is_read_through_its_links(tmp_path: Path) -> None:
    (tmp_path / "..v1").mkdir()
    (tmp_path / "..v1" / "a.yaml").write_text("one")
    (tmp_path / "..v2").mkdir()
    (tmp_path / "..v2" / "a.yaml").write_text("two")
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    before = fingerprint(tmp_path)
    assert read_folder(tmp_path, Problems()).files == (("a.yaml", b"one"),)
    (tmp_path / "new").symlink_to("..v2")
    (tmp_path / "new").replace(tmp_path / "..data")
    assert fingerprint(tmp_path) != before
    assert read_folder(tmp_path, Problems()).files == (("a.yaml", b"two"),)


@pytest.mark.parametrize("make", ["fifo", "dangling link", "link to itself", "unreadable"])
def test_what_is_no_file_is_a_problem(folder: Path, make: str) -> None:
    odd = folder / "odd.yaml"
    if make == "fifo":
        os.mkfifo(odd)
    elif make == "unreadable":
        odd.symlink_to("/proc/self/mem")
    else:
        odd.symlink_to("nowhere" if make == "dangling link" else "odd.yaml")
    names, problems = _read(folder)
    assert names == ["a.yml", "b.yaml", "tiers/c.YAML"]
    assert len(problems) == 1
    assert fingerprint(folder) is not None


def test_a_large_file_is_a_problem(folder: Path) -> None:
    (folder / "b.yaml").write_bytes(b"#" * (LARGEST_FILE + 1))
    assert _read(folder) == (["a.yml", "tiers/c.YAML"], ["is larger than 1 MiB; split it"])


def test_a_large_folder_is_a_problem(folder: Path) -> None:
    for number in range(5):
        (folder / f"{number}.yaml").write_bytes(b"#" * LARGEST_FILE)
    names, problems = _read(folder)
    assert names == []
    assert problems == ["holds more than 1000 policy files or 4 MiB; is it the right one?"]


def test_many_files_are_a_problem(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FILES", 2)
    assert _read(folder)[1] == ["holds more than 2 policy files or 4 MiB; is it the right one?"]


def test_a_folder_of_something_else_is_a_problem(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ENTRIES", 2)
    assert _read(folder)[1] == ["holds more than 2 files and folders; is it the right one?"]
    assert fingerprint(folder) == fingerprint(folder)


@pytest.mark.parametrize(
    ("case", "path", "message"),
    [
        ("nothing there", "missing", "there is no such folder"),
        ("a file", "policies/b.yaml", "is a file; name the folder it is in"),
        ("nothing in it", "empty", "holds no *.yaml or *.yml file"),
    ],
)
def test_no_folder_of_policies(tmp_path: Path, folder: Path, case: str, path: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    assert _read(tmp_path / path) == ([], [message])


def test_names_no_terminal_can_show_are_escaped(folder: Path) -> None:
    odd = os.fsencode(folder) + b"/\xff\x1b.yaml"
    os.symlink(b"nowhere", odd)
    problems = Problems()
    read_folder(folder, problems)
    assert [str(problem).isprintable() for problem in problems] == [True]


@pytest.mark.parametrize("change", ["write", "touch", "add", "remove", "replace", "rename"])
def test_the_fingerprint_changes_with_the_files(folder: Path, change: str) -> None:
    before = fingerprint(folder)
    assert fingerprint(folder) == before
    file = folder / "b.yaml"
    if change == "write":
        file.write_text("longer")
    elif change == "touch":
        os.utime(file, ns=(1, 1))
    elif change == "add":
        (folder / "tiers" / "d.yaml").write_text("d")
    elif change == "remove":
        file.unlink()
    elif change == "replace":
        (folder / "draft").write_text("c")
        (folder / "draft").replace(file)
    else:
        file.rename(folder / "z.yaml")
    assert fingerprint(folder) != before


def test_the_fingerprint_of_a_folder_that_comes_and_goes(tmp_path: Path) -> None:
    missing = fingerprint(tmp_path / "policies")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.yaml").write_text("a")
    assert fingerprint(tmp_path / "policies") != missing


def test_the_bundle_comes_back_as_it_was(tmp_path: Path) -> None:
    sources = Sources((("a.yaml", "é\n".encode()), ("b/c.yaml", b"\xff\x00")))
    sources.write(tmp_path / "accepted.json")
    sources.write(tmp_path / "accepted.json")
    assert Sources.read(tmp_path / "accepted.json") == sources
    assert [path.name for path in tmp_path.iterdir()] == ["accepted.json"], "no draft is left behind"


def test_the_digest_tells_names_and_contents_apart() -> None:
    digests = {
        Sources(files).digest
        for files in [
            (),
            (("a", b""),),
            (("", b"a"),),
            (("a", b"b"),),
            (("ab", b""),),
            (("a", b"b"), ("c", b"d")),
            (("a", b"bc"), ("", b"d")),
        ]
    }
    assert len(digests) == 7
    assert all(len(digest) == 64 for digest in digests)


@given(cut=st.integers(min_value=0, max_value=200))
def test_a_bundle_cut_off_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("bundle") / "accepted.json"
    Sources((("a.yaml", b"tiers: {}\n"),)).write(path)
    content = path.read_bytes()
    path.write_bytes(content[: min(cut, len(content) - 1)])
    with pytest.raises(SourcesUnreadable):
        Sources.read(path)


@pytest.mark.parametrize(
    ("case", "content"),
    [
        ("not an object", "[]"),
        ("nothing in it", "{}"),
        ("files that are none", '{"digest": "", "files": [1]}'),
        ("bytes that are no text", "\udcff"),
        ("another digest", json.dumps({"digest": "0" * 64, "files": [{"name": "a", "text": "b"}]})),
    ],
)
def test_a_bundle_that_was_changed_is_refused(tmp_path: Path, case: str, content: str) -> None:
    path = tmp_path / "accepted.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(SourcesUnreadable):
        Sources.read(path)


def test_a_missing_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourcesUnreadable, match=r"accepted\.json"):
        Sources.read(tmp_path / "accepted.json")
