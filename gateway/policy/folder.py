"""A policy folder that others than its editors may look at and replace as a whole."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from gateway.errors import Conflict
from gateway.policy.check_upstreams import Objection, no_objection
from gateway.policy.load import Loaded, load_sources
from gateway.policy.problems import Problems
from gateway.policy.sources import SUFFIXES, Sources, read_folder

NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,99}/){0,5}[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\.ya?ml")
"""Of a file in the folder: no way out of it, and nothing hidden."""


class PolicyFolder:
    """The folder this gateway reads. `objection` says what is wrong with a target, as at a reload."""

    def __init__(self, path: Path, objection: Objection = no_objection) -> None:
        self.path, self._objection = path, objection

    def digest(self) -> str:
        """Of the files as they are now, whether they can be used or not."""
        return read_folder(self.path, Problems()).digest

    def check(self, files: Mapping[str, str]) -> Loaded:
        """What would come of these files, by all that a reload checks. Changes nothing."""
        return load_sources(_sources(files), self._objection)

    def replace(self, files: Mapping[str, str]) -> None:
        """Put these files in the place of all policy files. Conflict when the folder can not be written.

        Each file is replaced at once, the folder is not: who watches it waits until nothing has changed for
        a while. When a file can not be written the ones before are put back.
        """
        before = read_folder(self.path, Problems())
        try:
            self._write(_sources(files))
        except OSError as error:
            self._write(before)
            raise Conflict(f"The policy folder can not be written: {error.strerror}.") from error

    def _write(self, sources: Sources) -> None:
        kept = {name for name, _ in sources.files}
        there = dict(read_folder(self.path, Problems()).files)
        for name, content in sources.files:
            if there.get(name) != content:
                _replace(self.path / name, content)
        for name in there.keys() - kept:
            (self.path / name).unlink(missing_ok=True)


def is_name(text: str) -> bool:
    """Whether a policy file may be called so."""
    return NAME.fullmatch(text) is not None and text.lower().endswith(SUFFIXES)


def _sources(files: Mapping[str, str]) -> Sources:
    return Sources(tuple((name, files[name].encode("utf-8", "surrogateescape")) for name in sorted(files)))


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")  # hidden: no policy file
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
