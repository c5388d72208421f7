from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from gateway.model.exchange import RequestHead
from gateway.policy.billing_documents import ChargeDocument
from gateway.policy.documents import PolicyFile, RouteDocument, TierDocument
from gateway.policy.load import compile_sources
from gateway.policy.sources import Sources
from gateway.policy.values import Document
from gateway.routing.table import RoutingTable

DOCS = Path(__file__).parents[3] / "docs" / "policies.md"


def _documents() -> list[type[BaseModel]]:
    found: list[type[BaseModel]] = [Document]
    for document in found:
        found += document.__subclasses__()
    return found[1:]


def _fields() -> Iterator[tuple[str, str, str | None]]:
    for document in _documents():
        for name, field in document.model_fields.items():
            yield document.__name__, name, field.description


@pytest.mark.parametrize(("document", "name", "description"), list(_fields()))
def test_every_key_is_described_and_documented(document: str, name: str, description: str | None) -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert description, f"{document}.{name} needs a description"
    row = next((line for line in text.splitlines() if line.endswith(f"| {description} |")), "")
    assert f"| `{name}` |" in row, f"docs/policies.md has no row for {document}.{name}: {description}"


def test_every_example_is_valid() -> None:
    for document in _documents():
        for name, field in document.model_fields.items():
            for example in field.examples or []:
                adapter: TypeAdapter[object] = TypeAdapter(field.rebuild_annotation(), config=None)
                adapter.validate_python(example, strict=True), f"{document.__name__}.{name}"


def test_what_is_left_out_has_its_default() -> None:
    route = RouteDocument.model_validate({"name": "all", "match": {"path": "/**"}, "upstream": "api"})
    assert route.charges == {"api_calls": ChargeDocument(units=1)}
    assert route.requires == []
    assert route.forward_credentials is False
    assert PolicyFile().admission.mode == "auto"
    assert PolicyFile().admission.on_store_loss == "refuse"


@pytest.mark.parametrize("key", ["holds", "resources", "json"])
def test_what_is_not_enforced_is_not_accepted(key: str) -> None:
    for document in _documents():
        assert key not in document.model_fields
    with pytest.raises(ValidationError):
        TierDocument.model_validate({key: {}})


def test_documents_do_not_change() -> None:
    with pytest.raises(ValidationError):
        TierDocument().title = "other"  # type: ignore[misc]  # that it fails is the point


def test_the_worked_example_is_valid_and_says_what_its_table_says() -> None:
    example = DOCS.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    loaded = compile_sources(Sources((("example.yaml", example.encode()),)))
    assert loaded.problems == ()
    assert loaded.policies is not None
    table = RoutingTable(loaded.policies, portal_url="http://portal")
    for method, path, route in [
        ("GET", "/api/v1/projects", "everything-else"),
        ("GET", "/api/v1/search", "search"),
        ("HEAD", "/api/v1/exports/7", "exports"),
        ("DELETE", "/api/v1/exports/7", "everything-else"),
    ]:
        head = RequestHead()
        head.method, head.path = method, path
        assert table.match(head).name == route
