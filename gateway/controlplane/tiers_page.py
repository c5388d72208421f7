"""The page that lists the tiers. Self-contained: no scripts, no fonts, nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from gateway.controlplane import wording
from gateway.controlplane.html_pages import content_security_policy, html_page
from gateway.model.policies import PolicySet, Tier

_STYLE = (Path(__file__).parent / "tiers.css").read_text(encoding="utf-8")

CONTENT_SECURITY_POLICY = content_security_policy(_STYLE)


def render_tiers(policies: PolicySet, upgrade: str | None) -> str:
    """The page. The tier named `upgrade`, if there is one, stands out."""
    cards = "\n".join(_card(tier, upgrade=tier.name == upgrade) for tier in policies.tiers.values())
    chosen = policies.tiers.get(upgrade or "")
    lead = (
        f"What you asked for is part of <strong>{escape(chosen.title)}</strong>."
        if chosen
        else "What each tier costs and what it includes."
    )
    body = f"""<header>
<h1>Tiers</h1>
<p>{lead}</p>
</header>
<ul class="tiers">
{cards}
</ul>"""
    return html_page("Tiers", _STYLE, body)


def _card(tier: Tier, *, upgrade: bool) -> str:
    price = "price on request" if tier.price is None else wording.price_text(tier.price)
    parts = [
        '<li class="upgrade" aria-current="true">' if upgrade else "<li>",
        '<p class="badge">Suggested for you</p>' if upgrade else "",
        f"<h2>{escape(tier.title)}</h2>",
        f'<p class="price">{escape(price)}</p>',
        _listed("Rate limits", [wording.limit_text(one) for one in tier.limits if not one.shadow]),
        _listed(
            "Calls at once", [wording.concurrency_text(one) for one in tier.concurrency if not one.shadow]
        ),
        _listed("Quotas", [wording.quota_text(one) for one in tier.quotas if not one.shadow]),
        _listed("Features", (name.replace("_", " ") for name in sorted(tier.features))),
        "</li>",
    ]
    return "\n".join(part for part in parts if part)


def _listed(title: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h3>{title}</h3>\n<ul>{items}</ul>" if items else ""
