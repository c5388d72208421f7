from __future__ import annotations

import pytest

from gateway.model.billing import BILLABLE, USUAL
from gateway.model.usage import billable
from gateway.outcomes import Outcome
from gateway.policy.billing_documents import BillOnDocument


@pytest.mark.parametrize("outcome", Outcome, ids=lambda outcome: outcome.label)
def test_the_usual_rule_is_what_is_billed_without_any_rule(outcome: Outcome) -> None:
    statuses = range(100, 500) if outcome is Outcome.SERVED else (0, *range(100, 600))
    assert [USUAL.bills(outcome, one) for one in statuses] == [billable(outcome, one) for one in statuses]


def test_policies_can_name_what_may_be_billed_and_nothing_else() -> None:
    assert set(BillOnDocument.model_fields) == {outcome.label for outcome in BILLABLE}
