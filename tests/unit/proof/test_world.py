"""The policies of a proof are in order, and its callers' tiers are in them."""

from __future__ import annotations

from pathlib import Path

from gateway.policy.load import load_folder
from gateway.proof.calls import KINDS
from gateway.proof.world import CAST, COUNTED, QUOTAS, policies, wanted


def test_the_policies_load_and_have_everybodys_tier(tmp_path: Path) -> None:
    (tmp_path / "proof.yaml").write_text(policies(9000))
    loaded = load_folder(tmp_path)
    assert not loaded.problems
    assert loaded.policies is not None
    tiers = loaded.policies.tiers
    assert {who.tier for who in CAST} | set(QUOTAS) <= set(tiers)
    assert {name: {quota.meter for quota in tier.quotas} for name, tier in tiers.items()} == COUNTED


def test_no_two_calls_want_the_same_answer() -> None:
    answers = {wanted(number, kind) for number in range(50) for kind in KINDS}
    assert len(answers) == 50 * len(KINDS)
