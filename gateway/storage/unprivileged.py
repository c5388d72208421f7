"""Run a program that refuses to run as root, without making a user and without widening a permission.

    python unprivileged.py FOLDER... -- PROGRAM [ARGUMENT...]

First choice is a user namespace in which we look like `nobody`: files stay ours, every path we can reach
stays reachable. Where the kernel or a container forbids that, or the first folder belongs to `nobody` already
because it was forbidden before, the folders are given to `nobody` and the program really runs as that user.

Needs nothing but the standard library, so it is started by its path and does not wait for the package.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
UNREACHABLE = 77
"""Exit status when the other user can not reach what it needs."""


def needed() -> bool:
    """Whether PostgreSQL would refuse us as we are: root, or a uid that no passwd entry names."""
    uid = os.geteuid()
    return uid == 0 or not _is_named(uid)


def _is_named(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def other_user() -> pwd.struct_passwd:
    """`nobody`, or some other user that is not root."""
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        return next(entry for entry in pwd.getpwall() if entry.pw_uid != 0)


def enter_namespace(user: pwd.struct_passwd) -> None:
    """Look like `user` from here on, while files and signals still see who we are. OSError if forbidden."""
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "user namespaces are not available")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user.pw_uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{user.pw_gid} {gid} 1")


def become(user: pwd.struct_passwd, folders: list[Path]) -> None:
    """Give the folders to `user` and run as that user from here on. Only root can."""
    for folder in folders:
        if folder.stat().st_uid != user.pw_uid:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def change_user(folders: list[Path]) -> None:
    """Stop being root, one way or the other; the owner of the first folder decides which."""
    user = other_user()
    if folders[0].stat().st_uid == user.pw_uid != os.geteuid():
        become(user, folders)
        return
    try:
        enter_namespace(user)
    except (OSError, AttributeError):  # AttributeError: a system without unshare
        become(user, folders)


def main(arguments: list[str]) -> int:
    """Change the user and become the program; returns only when that is impossible."""
    split = arguments.index("--")
    folders, program = [Path(folder) for folder in arguments[:split]], arguments[split + 1 :]
    try:
        change_user(folders)
        for path, wanted in [
            (Path(program[0]), os.X_OK),
            *((folder, os.R_OK | os.W_OK) for folder in folders),
        ]:
            if not os.access(path, wanted):
                raise PermissionError(f"the user `{other_user().pw_name}` can not reach {path}")
        os.execv(program[0], program)  # noqa: S606 - no shell wanted
    except (OSError, StopIteration) as error:
        print(f"can not change the user: {error}", file=sys.stderr)  # noqa: T201 - a program of its own
    return UNREACHABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
