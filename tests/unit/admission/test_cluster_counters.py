"""Counters of a cluster are asked and told all that those of one server are."""

from __future__ import annotations

import pytest

from gateway.admission.cluster_counters import ClusterCounters, ClusterCrossings, events_of
from gateway.admission.cluster_store import ClusterStore
from gateway.admission.counters import QuotaCounters
from gateway.admission.crossings import Crossings
from gateway.storage.hash_slots import slot_of


@pytest.mark.parametrize(
    ("of_one", "of_many"), [(QuotaCounters, ClusterCounters), (Crossings, ClusterCrossings)]
)
def test_nothing_is_left_to_the_client_of_one_server(of_one: type, of_many: type) -> None:
    asked = {name for name in vars(of_one) if not name.startswith("_")}
    assert asked - vars(of_many).keys() == set()


def test_whatever_has_keys_of_several_tags_is_sent_in_parts() -> None:
    assert {"decide", "give_back", "refund", "renew", "release"} <= vars(ClusterStore).keys()


def test_events_lie_where_their_counters_lie() -> None:
    field = "tw:{7l}:q:api_calls:month:1784000000|100|80"
    assert slot_of(events_of(slot_of("7l"))) == slot_of(field) == slot_of("7l")
