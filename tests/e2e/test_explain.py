"""An operator asks why, and a running gateway does as it was told it would."""

from __future__ import annotations

from typing import Any

from tests.e2e.conftest import Gateway


def _explain(gateway: Gateway, **question: object) -> dict[str, Any]:
    told: dict[str, Any] = gateway.admin("POST", "/explain", json={"path": "/get", **question})
    return told


def test_what_is_explained_is_what_happens(gateway: Gateway) -> None:
    customer = gateway.customer("free")  # bursts of 5
    for _ in range(5):
        told = _explain(gateway, key=customer.key)
        assert told["verdict"] == "forward"
        assert (
            customer.get().headers["RateLimit"].split(";")[:2] == told["headers"]["RateLimit"].split(";")[:2]
        )
    told = _explain(gateway, key=customer.key)
    answer = customer.get()
    assert (told["status"], told["code"]) == (answer.status_code, answer.json()["code"])
    assert told["problem"]["violated-policies"] == answer.json()["violated-policies"] == ["burst"]
    assert gateway.tollway("explain", "/get", "--key", customer.key)["code"] == "rate_limited"
    assert _explain(gateway, key=customer.key, path="/anything/export")["code"] == "feature_required"
    rows = customer.outcomes(6)
    assert rows == ["served"] * 5 + ["rate_limited"], "questions leave no rows"
