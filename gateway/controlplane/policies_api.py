"""`/admin/v1/policies/...`: check policies, put others in their place, see which held when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

from aiohttp import web
from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from gateway.controlplane import wording
from gateway.controlplane.bodies import Sent, answer, read_body, read_query
from gateway.controlplane.endpoints import CONNECTION, Endpoint
from gateway.controlplane.explanations import PoliciesThen
from gateway.controlplane.problems import Problem, invalid
from gateway.controlplane.tokens import OPERATOR
from gateway.model.policies import PolicySet
from gateway.operators.policy_history import Applied, PolicyHistory
from gateway.policy.folder import PolicyFolder, is_name
from gateway.policy.load import Loaded
from gateway.policy.problems import Problem as PolicyProblem

IN_USE_WITHIN_S = 5.0
LOOK_EVERY_S = 0.05


def _named(files: dict[str, str]) -> dict[str, str]:
    if not all(map(is_name, files)):
        raise ValueError("has a name that no policy file can have: like tiers.yaml or billing/tiers.yaml")
    if not all(map(_encodable, files.values())):
        raise ValueError("holds a text that is not Unicode")
    return files


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class PolicyFiles(Sent):
    """All files of a policy folder, by name."""

    files: Annotated[dict[str, str], Field(min_length=1, max_length=1000), AfterValidator(_named)]


class HistoryPage(Sent):
    """A page of the history; `before` is the `next` of the page before."""

    before: Annotated[int, Field(ge=1, le=2**62)] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    gateway: Annotated[str, Field(max_length=255, pattern=r"^[!-~]*$")] | None = None


class ProblemDocument(TypedDict):
    """One thing to mend."""

    file: str
    line: int
    where: str
    message: str


class CheckDocument(TypedDict):
    """What came of a check: a digest, or problems."""

    ok: bool
    digest: str
    problems: list[ProblemDocument]


class AppliedDocument(TypedDict):
    """Policies that were put into the folder, and whether this gateway uses them by now."""

    digest: str
    in_use: bool


class HistoryEntry(PoliciesThen):
    """One line of the history."""

    id: int


class HistoryList(TypedDict):
    """Which policies were taken into use, newest first."""

    data: list[HistoryEntry]
    next: int | None


class PoliciesApi:
    """What operators do with policies through HTTP."""

    def __init__(
        self, folder: PolicyFolder, history: PolicyHistory, policies: Callable[[], PolicySet]
    ) -> None:
        self._folder, self._history, self._policies = folder, history, policies
        self._one_at_a_time = asyncio.Lock()

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/admin/v1`."""
        read = "policies:read"
        return [
            Endpoint("GET", "/policies/history", self.list_history, read, HistoryList, query=HistoryPage),
            Endpoint("POST", "/policies/check", self.check, read, CheckDocument, body=PolicyFiles, asks=True),
            Endpoint(
                "PUT",
                "/policies",
                self.apply,
                "policies:write",
                AppliedDocument,
                body=PolicyFiles,
                refuses=(409, 412, 428),
            ),
        ]

    async def list_history(self, request: web.Request) -> web.Response:
        """Which policies gateways took into use, when, and what made them. Newest first."""
        page = read_query(request, HistoryPage)
        found = await self._history.page(page.before, page.limit, page.gateway)
        following = found[-1].id if len(found) == page.limit else None
        return answer({"data": [history_entry(one) for one in found], "next": following})

    async def check(self, request: web.Request) -> web.Response:
        """Whether a gateway would take these files, or every problem with file and line. Changes nothing."""
        sent = await read_body(request, PolicyFiles)
        return answer(_checked(await asyncio.to_thread(self._folder.check, sent.files)))

    async def apply(self, request: web.Request) -> web.Response:
        """Put these files in the place of all policy files, after a full check; `If-Match` is required."""
        sent = await read_body(request, PolicyFiles)
        async with self._one_at_a_time:  # what was seen must not change before it is replaced
            self._check_match(request)
            digest = await self._put(request, sent.files)
        return answer({"digest": digest, "in_use": await self._is_used(digest)})

    async def _put(self, request: web.Request, files: dict[str, str]) -> str:
        """Check, note, replace. Raises Problem with everything that is wrong."""
        loaded = await asyncio.to_thread(self._folder.check, files)
        if loaded.policies is None:
            raise invalid((_place(one), f"{one.where}: {one.message}") for one in loaded.problems)
        before, digest = self._policies().digest, loaded.policies.digest
        if digest != before:
            await PolicyHistory(request[CONNECTION]).audit(before, digest, sorted(files))
            self._history.announced[digest] = request[OPERATOR].name
        await asyncio.to_thread(self._folder.replace, files)
        return digest

    def _check_match(self, request: web.Request) -> None:
        wanted = ",".join(request.headers.getall("If-Match", []))
        if not wanted:
            detail = "Say which policies you have seen: If-Match with the ETag of GET /admin/v1/policies."
            raise Problem(428, "precondition_required", detail)
        digest = self._folder.digest()
        if wanted.strip() != "*" and f'"{digest}"' not in map(str.strip, wanted.split(",")):
            detail = "The folder has changed since: read it again, then decide anew."
            raise Problem(412, "precondition_failed", detail, extensions={"digest": digest})

    async def _is_used(self, digest: str) -> bool:
        """Wait until this process has them, as the workers then have: all are told at once."""
        for _ in range(round(IN_USE_WITHIN_S / LOOK_EVERY_S)):
            if self._policies().digest == digest:
                return True
            await asyncio.sleep(LOOK_EVERY_S)
        return False


def history_entry(one: Applied) -> HistoryEntry:
    """A line of the history, as the API and the command line show it."""
    return {
        "id": one.id,
        "applied_at": wording.instant(one.applied_at),
        "gateway": one.gateway,
        "digest": one.digest,
        "how": one.how,
        "actor": one.actor,
    }


def _checked(loaded: Loaded) -> CheckDocument:
    return {
        "ok": loaded.policies is not None,
        "digest": loaded.sources.digest,
        "problems": _problems(loaded),
    }


def _problems(loaded: Loaded) -> list[ProblemDocument]:
    return [
        {"file": one.file, "line": one.line, "where": one.where, "message": one.message}
        for one in loaded.problems
    ]


def _place(one: PolicyProblem) -> str:
    return f"{one.file}:{one.line}" if one.line else one.file
