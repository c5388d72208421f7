"""The page of tiers: everything on it, nothing loaded, nothing executed."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

from gateway.controlplane.tiers_page import CONTENT_SECURITY_POLICY, render_tiers
from gateway.model.periods import Period
from gateway.model.policies import Limit, PolicySet, Price, Quota, Tier

FREE = Tier(
    "community",
    "Community",
    Price(0, "USD", "month"),
    (Limit("burst", 60, 60_000, 20),),
    (Quota("monthly", "api_calls", 1000, Period.MONTH),),
    frozenset(),
)
TEAM = replace(
    FREE,
    name="team",
    title="Team",
    price=Price(2500, "USD", "month"),
    features=frozenset({"private_projects"}),
)


def policies(*tiers: Tier) -> PolicySet:
    return PolicySet("d" * 64, {}, {}, {tier.name: tier for tier in tiers}, ())


class Page(HTMLParser):
    """Collects what a browser would act on; fails on tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def test_every_tier_with_its_price_limits_quotas_and_features() -> None:
    text = render_tiers(policies(FREE, TEAM), None)
    for expected in (
        "Community",
        "free",
        "60 requests per minute, 20 at once",
        "1,000 api calls per month",
        "USD 25.00 per month",
        "private projects",
    ):
        assert expected in text
    assert text.index("Community") < text.index("Team")
    assert "Suggested" not in text


def test_the_upgrade_stands_out() -> None:
    text = render_tiers(policies(FREE, TEAM), "team")
    assert text.count("Suggested for you") == 1
    assert text.count('class="upgrade" aria-current="true"') == 1
    assert "part of <strong>Team</strong>" in text


def test_an_upgrade_that_is_not_there_changes_nothing() -> None:
    text = render_tiers(policies(FREE), '"><script>alert(1)</script>')
    assert text == render_tiers(policies(FREE), None)


def test_names_from_policies_can_not_become_markup() -> None:
    nasty = '"><script>alert(1)</script>&amp;'
    tier = replace(TEAM, title=nasty, features=frozenset({nasty}), price=Price(1, nasty, nasty))
    page = Page(render_tiers(policies(tier), "team"))
    assert "script" not in page.tags


def test_a_tier_without_a_price_is_on_request() -> None:
    assert "price on request" in render_tiers(policies(replace(TEAM, price=None)), None)


def test_nothing_is_loaded_and_only_our_style_applies() -> None:
    text = render_tiers(policies(FREE, TEAM), "team")
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "form", "object"} & set(page.tags)
    assert not {"src", "href", "style", "onclick"} & {name for name, _ in page.attributes}
    style = re.search(r"<style>(.*)</style>", text, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1].replace("no url()", "")
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY


def test_readable_by_machines_for_people() -> None:
    page = Page(render_tiers(policies(FREE), None))
    assert ("lang", "en") in page.attributes
    assert page.tags.count("h1") == 1
    assert {"main", "title", "h2", "h3"} <= set(page.tags)
