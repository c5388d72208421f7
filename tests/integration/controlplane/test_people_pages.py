"""The pages behind the links of mails."""

from __future__ import annotations

import re

from .people import PASSWORD, Visitor

OTHER = "another three words"


async def follow(visitor: Visitor, email: str, **typed: str) -> tuple[int, str]:
    """Open the link of the newest mail as a browser does, and send its form: status and page."""
    text = [one.text for one in await visitor.post.collect() if one.recipient == email][-1]
    found = re.search(r"https://portal.example(/\w+\?token=\S+)", text)
    assert found
    page = await visitor.portal.get(found[1])
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "form-action 'self'" in page.headers["Content-Security-Policy"]
    form = await page.text()
    action, token = re.search(r'action="([^"]+)"', form), re.search(r'name="token" value="([^"]+)"', form)
    assert action
    assert token
    answer = await visitor.portal.post(action[1], data={"token": token[1], **typed})
    return answer.status, await answer.text()


async def test_confirming_an_address(visitor: Visitor) -> None:
    await visitor.register()
    status, page = await follow(visitor, visitor.email, password=OTHER)
    assert (status, "must be the one of this registration" in page) == (422, True)
    status, page = await follow(visitor, visitor.email, password=PASSWORD)
    assert (status, "You can log in now" in page) == (200, True)
    await visitor.log_in()
    assert (await follow(visitor, visitor.email, password=PASSWORD))[0] == 400


async def test_opening_a_link_changes_nothing(visitor: Visitor) -> None:
    await visitor.register()
    token = await visitor.post.token(visitor.email)
    for _ in range(2):
        assert (await visitor.portal.get(f"/verify?token={token}")).status == 200
    await visitor.ok("POST", "/verify", {"token": token, "password": PASSWORD}, status=201)


async def test_another_password(visitor: Visitor) -> None:
    await visitor.arrive()
    assert (await visitor.portal.get("/forgot")).status == 200
    said = []
    for email in (visitor.email, "nobody@example.com"):
        answer = await visitor.portal.post("/forgot", data={"email": email})
        said.append((answer.status, await answer.text()))
    assert said[0] == said[1]
    status, page = await follow(visitor, visitor.email, password="short")
    assert (status, "Password must have 10 to 1024 characters." in page) == (422, True)
    assert (await follow(visitor, visitor.email, password=OTHER))[0] == 200
    visitor.password = OTHER
    await visitor.log_in()


async def test_joining_an_account(visitor: Visitor) -> None:
    await visitor.arrive()
    await visitor.ok("POST", "/invitations", {"email": "new@example.com"}, status=201)
    status, page = await follow(visitor, "new@example.com", password="")
    assert (status, "nobody has registered" in page) == (422, True)
    assert (await follow(visitor, "new@example.com", password=PASSWORD))[0] == 200
    await visitor.elsewhere("new@example.com").log_in()


async def test_pages_survive_nonsense(visitor: Visitor) -> None:
    for path in ("/verify", "/reset", "/join"):
        shown = await (await visitor.portal.get(path, params={"token": '"><script>alert(1)</script>'})).text()
        assert "<script" not in shown
        answer = await visitor.portal.post(path, data={"token": '"><b>', "password": OTHER})
        assert answer.status == 400
        assert "<b>" not in await answer.text()
        assert (await visitor.portal.post(path, json={"token": "x"})).status == 415
        assert (
            await visitor.portal.post(path, data=b"%ff=%00&token=%ff%ed%a0%80", headers=FORM)
        ).status == 400
        wrong = {"Content-Type": "application/x-www-form-urlencoded; charset=nonsense"}
        assert (await visitor.portal.post(path, data=b"token=x", headers=wrong)).status == 400


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
