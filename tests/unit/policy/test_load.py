from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy.load import compile_sources, load_folder
from gateway.policy.problems import MOST_PROBLEMS
from gateway.policy.sources import Sources

HERE = Path(__file__).parents[2] / "policies"
EVERYTHING = (HERE / "valid" / "everything.yaml").read_bytes()

WORDS = """
upstreams meters tiers routes admission upgrade_url api targets timeouts connect unit tokens api_calls free
paid title extends price amount currency per limits name rate burst quotas meter features match methods
path hosts upstream requires scopes charges forward_credentials mode on_store_loss [key] <<
"""
KEYS = st.sampled_from(WORDS.split())
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | KEYS
    | st.text(max_size=8)
    | st.sampled_from(["/**", "/a", "60/minute", "2s", "http://a", "month", "GET", "exact", "free", "é"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


def _write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_problems_name_the_file_as_the_terminal_finds_it(tmp_path: Path) -> None:
    _write(tmp_path, tiers="tiers:\n  free: {titel: x}\n")
    problem = load_folder(tmp_path).problems[-1]
    assert str(problem).startswith(f"{tmp_path}/tiers.yaml:2: tiers.free.titel: ")


def test_what_workers_compile_is_what_was_checked(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.yaml").write_bytes(EVERYTHING)
    loaded = load_folder(tmp_path / "policies")
    loaded.sources.write(tmp_path / "accepted.json")
    assert compile_sources(Sources.read(tmp_path / "accepted.json")) == loaded


def test_a_problem_in_one_file_leaves_no_policies_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(EVERYTHING)
    _write(tmp_path, b="tiers: {more: {titel: x}}\n")
    loaded = load_folder(tmp_path)
    assert loaded.policies is None
    assert len(loaded.problems) == 1


def test_a_file_that_can_not_be_read_leaves_no_policies_either(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(EVERYTHING)
    (tmp_path / "b.yaml").symlink_to("nowhere")
    assert load_folder(tmp_path).policies is None


def test_a_missing_folder_is_one_problem(tmp_path: Path) -> None:
    loaded = load_folder(tmp_path / "policies")
    assert loaded.policies is None
    assert [str(problem) for problem in loaded.problems] == [f"{tmp_path}/policies: there is no such folder"]


def test_a_byte_order_mark_is_no_problem() -> None:
    assert compile_sources(Sources((("a.yaml", b"\xef\xbb\xbf" + EVERYTHING),))).problems == ()


def test_windows_line_ends_are_no_problem() -> None:
    assert compile_sources(Sources((("a.yaml", EVERYTHING.replace(b"\n", b"\r\n")),))).problems == ()


def test_order_and_split_of_files_do_not_matter_to_what_is_defined(tmp_path: Path) -> None:
    _write(
        tmp_path,
        z="upstreams: {u: {targets: [http://u]}}\n",
        a="tiers: {paid: {extends: free}}\n",
        b="tiers: {free: {}}\nroutes: [{name: r, match: {path: /**}, upstream: u}]\n",
    )
    policies = load_folder(tmp_path).policies
    assert policies is not None
    assert list(policies.tiers) == ["paid", "free"]


@pytest.mark.parametrize("cut", range(0, len(EVERYTHING), 7))
def test_a_file_cut_off_anywhere_is_policies_or_problems(cut: int) -> None:
    loaded = compile_sources(Sources((("a.yaml", EVERYTHING[:cut]),)))
    assert (loaded.policies is None) is bool(loaded.problems)


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_values_are_policies_or_problems(values: dict[str, object]) -> None:
    text = yaml.safe_dump(values, allow_unicode=True).encode()
    loaded = compile_sources(Sources((("a.yaml", text),)))
    assert (loaded.policies is None) is bool(loaded.problems)
    assert all(len(str(problem).splitlines()) == 1 for problem in loaded.problems)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_policies_or_problems(content: bytes) -> None:
    loaded = compile_sources(Sources((("a.yaml", content),)))
    assert loaded.policies is None
    assert loaded.problems


@settings(deadline=None)
@given(st.data())
def test_any_damage_to_a_good_file_is_policies_or_problems(data: st.DataObject) -> None:
    content = bytearray(EVERYTHING)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    loaded = compile_sources(Sources((("a.yaml", bytes(content)),)))
    assert (loaded.policies is None) is bool(loaded.problems)


def test_thousands_of_problems_are_cut_to_what_a_person_reads() -> None:
    files = tuple(
        (f"{n}.yaml", b"tiers: {" + b",".join(b"T%d: 1" % k for k in range(500)) + b"}\n") for n in range(9)
    )
    assert len(compile_sources(Sources(files)).problems) == MOST_PROBLEMS + 1
