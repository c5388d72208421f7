"""What Prometheus reads is what the processes counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.catalogue import METRICS, State
from gateway.telemetry.exposition import read_processes, render
from gateway.telemetry.metric import Kind
from gateway.telemetry.slots import Slots

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(folder: Path) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(render(folder, "1.2.3").decode())
        for sample in family.samples
    }


def labels(process: str, **more: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({"process": process, **more}.items()))


def test_counters_and_gauges_of_each_process(tmp_path: Path) -> None:
    first, second = Slots.open(tmp_path / "worker-1.slots"), Slots.open(tmp_path / "worker-2.slots")
    first.add("requests_total", 3, "served")
    second.add("requests_total", 4, "served")
    second.set("connections", 5)
    samples = scrape(tmp_path)
    assert samples["tollway_requests_total", labels("worker-1", outcome="served")] == 3
    assert samples["tollway_requests_total", labels("worker-2", outcome="served")] == 4
    assert samples["tollway_requests_total", labels("worker-2", outcome="timeout")] == 0
    assert samples["tollway_connections", labels("worker-2")] == 5
    assert samples["tollway_build_info", (("version", "1.2.3"),)] == 1


def test_a_histogram_is_cumulative_and_in_seconds(tmp_path: Path) -> None:
    slots = Slots.open(tmp_path / "worker-1.slots")
    for value_us in (500, 2_000, 2_500, 70_000_000):
        slots.observe_us("request_duration_seconds", value_us)
    samples = scrape(tmp_path)
    name = "tollway_request_duration_seconds"
    buckets = {
        le: samples[f"{name}_bucket", labels("worker-1", le=le)] for le in ("0.001", "0.0025", "60.0", "+Inf")
    }
    assert buckets == {"0.001": 1, "0.0025": 3, "60.0": 3, "+Inf": 4}
    assert samples[f"{name}_count", labels("worker-1")] == 4
    assert samples[f"{name}_sum", labels("worker-1")] == pytest.approx(70.005)


def test_a_scaled_gauge_is_shown_in_its_unit(tmp_path: Path) -> None:
    Slots.open(tmp_path / "recorder.slots").set("recorder_lag_seconds", 1_500_000)
    assert scrape(tmp_path)["tollway_recorder_lag_seconds", labels("recorder")] == 1.5


def test_a_process_is_silent_about_what_it_does_not_keep(tmp_path: Path) -> None:
    recorder = Slots.open(tmp_path / "recorder.slots")
    samples = scrape(tmp_path)
    assert ("tollway_admission_store_up", labels("recorder")) not in samples
    assert samples["tollway_state", labels("recorder")] == 0
    recorder.add("journal_records_total")  # against expectation, so it is shown
    assert scrape(tmp_path)["tollway_journal_records_total", labels("recorder")] == 1


def test_of_a_worker_that_was_replaced_only_the_counters_stay(tmp_path: Path) -> None:
    worker = Slots.open(tmp_path / "worker-1.slots")
    worker.add("connections_total", 7)
    worker.set("state", State.RETIRED)
    Slots.open(tmp_path / "worker-1b.slots")
    samples = scrape(tmp_path)
    assert samples["tollway_connections_total", labels("worker-1")] == 7
    for gauge in ("tollway_state", "tollway_heartbeat_us", "tollway_connections"):
        assert (gauge, labels("worker-1")) not in samples
        assert (gauge, labels("worker-1b")) in samples


def test_files_of_another_layout_and_other_files_are_skipped(tmp_path: Path) -> None:
    Slots.open(tmp_path / "worker-1.slots")
    (tmp_path / "worker-2.slots").write_bytes(b"of an older release")
    (tmp_path / "notes.txt").write_text("not ours")
    assert list(read_processes(tmp_path)) == ["worker-1"]


def test_a_folder_that_is_not_there_yet_has_no_processes(tmp_path: Path) -> None:
    assert read_processes(tmp_path / "later") == {}
    assert ("tollway_build_info", (("version", "1.2.3"),)) in scrape(tmp_path / "later")


def test_every_metric_of_the_catalogue_is_exposed_under_its_name(tmp_path: Path) -> None:
    for process in ("worker-1", "recorder", "control", "supervisor"):
        Slots.open(tmp_path / f"{process}.slots")
    text = render(tmp_path, "1.2.3").decode()
    for metric in METRICS:
        kind = metric.kind.value
        assert f"# TYPE tollway_{metric.name} {kind}\n" in text
        sample = f"tollway_{metric.name}{'_count' if metric.kind is Kind.HISTOGRAM else ''}{{"
        assert sample in text


def test_names_that_the_policies_choose(tmp_path: Path) -> None:
    worker = Slots.open(tmp_path / "worker-1.slots")
    worker.cells[worker.named("shadow_refusals_total", "burst")] += 3
    shown = {key: value for key, value in scrape(tmp_path).items() if "shadow_refusals" in key[0]}
    assert shown == {
        ("tollway_shadow_refusals_total", labels("worker-1", limit="burst")): 3,
        ("tollway_shadow_refusals_total", labels("worker-1", limit="other")): 0,
    }
