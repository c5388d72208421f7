"""What comes of people's attempts is counted, and nothing of who they are."""

from __future__ import annotations

from base64 import b32decode

from gateway.clock import ManualClock
from gateway.controlplane.collaborators import Collaborators
from gateway.people import totp

from .conftest import NOW_US, Client
from .people import PASSWORD, Visitor

WRONG = "another three words"


async def test_every_end_of_an_attempt_is_counted(
    visitor: Visitor, collaborators: Collaborators, clock: ManualClock
) -> None:
    def count(action: str, result: str) -> int:
        return collaborators.slots.get("people_attempts_total", action, result)

    await visitor.refused("POST", "/register", {"email": visitor.email, "password": "short"})
    await visitor.register()
    await visitor.refused(
        "POST", "/verify", {"token": "tollway_verify_" + "0" * 48, "password": "three mild words"}
    )
    await visitor.verify()
    assert (count("register", "invalid"), count("register", "done")) == (1, 1)
    assert (count("verify", "refused"), count("verify", "done")) == (1, 1)

    body = {"email": visitor.email, "password": WRONG}
    await visitor.refused("POST", "/login", body)
    await visitor.log_in()
    offer = await visitor.ok("POST", "/totp/enable", {"password": PASSWORD})
    secret = b32decode(offer["secret"])
    step = NOW_US // 1_000_000 // totp.STEP_S
    await visitor.refused("POST", "/totp/confirm", {"code": totp.code_at(secret, step + 7)})
    await visitor.ok("POST", "/totp/confirm", {"code": totp.code_at(secret, step)})
    assert (count("totp_enable", "done"), count("totp_confirm", "wrong_code")) == (1, 1)
    assert count("totp_confirm", "done") == 1

    await visitor.refused("POST", "/login", {"email": visitor.email, "password": PASSWORD})
    await visitor.refused("POST", "/login", {"email": visitor.email, "password": PASSWORD, "code": "000"})
    assert [count("login", one) for one in ("refused", "done", "code_needed", "wrong_code")] == [1] * 4
    for _ in range(12):
        await visitor.ask("POST", "/login", body)
    assert count("login", "slowed") > 0
    assert clock.now_us() == NOW_US


async def test_pages_count_as_the_api_does(portal: Client, collaborators: Collaborators) -> None:
    response = await portal.post("/forgot", data={"email": "nobody@example.com"})
    assert response.status == 200
    response = await portal.post("/reset", data={"token": "none", "password": PASSWORD})
    assert response.status == 400
    slots = collaborators.slots
    assert slots.get("people_attempts_total", "forgot_password", "done") == 1
    assert slots.get("people_attempts_total", "reset_password", "refused") == 1
