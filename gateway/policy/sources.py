"""The bytes of a policy folder, and the one file that hands accepted ones to the workers."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gateway.errors import TollwayError
from gateway.policy.problems import Problem, Problems

MOST_FILES = 1000
MOST_ENTRIES = 20_000
LARGEST_FILE = 1024 * 1024
LARGEST_FOLDER = 4 * 1024 * 1024
SUFFIXES = (".yaml", ".yml")

_FORMAT = 1


class SourcesUnreadable(TollwayError):
    """The bundle of accepted policies is missing, cut off or not what its digest says."""


@dataclass(frozen=True)
class Sources:
    """Names (relative, with `/`) and contents of policy files, in the order of their names."""

    files: tuple[tuple[str, bytes], ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names, contents and their lengths, hex."""
        state = hashlib.sha256()
        for name, content in self.files:
            encoded = name.encode("utf-8", "surrogateescape")
            state.update(b"%d %d " % (len(encoded), len(content)) + encoded + content)
        return state.hexdigest()

    def write(self, path: Path, how: str = "start") -> None:
        """Replace the bundle at `path` at once: a reader finds the old or the new one, whole.

        `how` it came to that, for whoever wants to know: `start`, `change`, `signal`.
        """
        files = [
            {"name": name, "text": content.decode("utf-8", "surrogateescape")} for name, content in self.files
        ]
        bundle = json.dumps({"format": _FORMAT, "digest": self.digest, "how": how, "files": files}).encode()
        draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
        try:
            with draft.open("wb") as file:
                file.write(bundle)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)

    @classmethod
    def read(cls, path: Path) -> Sources:
        """The bundle at `path`. Raises `SourcesUnreadable`."""
        try:
            bundle = json.loads(path.read_bytes())
            files = tuple(
                (str(file["name"]), str(file["text"]).encode("utf-8", "surrogateescape"))
                for file in bundle["files"]
            )
            sources, digest = cls(files), bundle["digest"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise SourcesUnreadable(f"the accepted policies in {path} can not be read: {error}") from error
        if sources.digest != digest:
            raise SourcesUnreadable(f"the accepted policies in {path} do not match their digest")
        return sources


def how_accepted(path: Path) -> str:
    """How the bundle at `path` came to be; `start` when it does not say."""
    try:
        return str(json.loads(path.read_bytes()).get("how", "start"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return "start"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _TooManyEntries(Exception):
    """The folder is not one of policies."""


def _policy_files(folder: Path) -> Iterator[tuple[str, os.stat_result | OSError]]:
    """Relative name and status of every policy file, in the order of names.

    Hidden files and folders are left out: editors keep drafts there, mounted ConfigMaps older versions.
    Links to files are followed, links to folders are not.
    """
    found: list[str] = []
    entries = 0
    failures: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=failures.append):
        entries += len(folders) + len(files)
        if entries > MOST_ENTRIES:
            raise _TooManyEntries
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(parent).relative_to(folder)
        found += [
            (below / name).as_posix()
            for name in files
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    if failures:
        raise failures[0]
    for name in sorted(found):
        try:
            yield name, (folder / name).stat()
        except OSError as error:
            yield name, error


def fingerprint(folder: Path) -> object:
    """Something that compares unequal once a policy file was added, removed, replaced or written to.

    Looks at names and file status only, so it may be asked every second. Take it before `load_folder`: then a
    change that lands while the files are read is seen the next time.
    """
    try:
        return tuple(
            (name, None)
            if isinstance(status, OSError)
            else (name, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
            for name, status in _policy_files(folder)
        )
    except (OSError, _TooManyEntries) as error:
        return type(error).__name__


def read_folder(folder: Path, problems: Problems) -> Sources:
    """Every policy file below the folder. What can not be read goes to `problems`."""
    shown_as = str(folder)
    files: list[tuple[str, bytes]] = []
    size = 0
    try:
        if not folder.is_dir():
            message = "is a file; name the folder it is in" if folder.exists() else "there is no such folder"
            problems.add(Problem(shown_as, 0, "", message))
            return Sources(())
        for name, status in _policy_files(folder):
            content = _read_file(folder / name, status, problems)
            size += len(content or b"")
            if content is not None:
                files.append((name, content))
            if len(files) > MOST_FILES or size > LARGEST_FOLDER:
                most = f"{MOST_FILES} policy files or {LARGEST_FOLDER >> 20} MiB"
                message = f"holds more than {most}; is it the right one?"
                problems.add(Problem(shown_as, 0, "", message))
                return Sources(())
    except _TooManyEntries:
        message = f"holds more than {MOST_ENTRIES} files and folders; is it the right one?"
        problems.add(Problem(shown_as, 0, "", message))
    except OSError as error:
        problems.add(Problem(shown_as, 0, "", f"can not be listed: {error.strerror}"))
    if not files and not problems:
        problems.add(Problem(shown_as, 0, "", "holds no *.yaml or *.yml file"))
    return Sources(tuple(files))


def _read_file(path: Path, status: os.stat_result | OSError, problems: Problems) -> bytes | None:
    message = None
    try:
        if isinstance(status, OSError):
            raise status
        if not stat.S_ISREG(status.st_mode):
            message = "is not a regular file; remove or rename it"
        else:
            with path.open("rb") as file:
                content = file.read(LARGEST_FILE + 1)
            if len(content) <= LARGEST_FILE:
                return content
            message = f"is larger than {LARGEST_FILE >> 20} MiB; split it"
    except OSError as error:
        message = f"can not be read: {error.strerror}"
    problems.add(Problem(shown_path(path), 0, "", message))
    return None


def shown_path(path: Path) -> str:
    """A path that can be printed wherever it came from."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in str(path)
    )
