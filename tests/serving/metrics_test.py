"""Prometheus' text, read by Prometheus' own parser."""

from prometheus_client import parser

from prompt_tuning.serving.metrics import Metrics


def samples(metrics):
    families = parser.text_string_to_metric_families(metrics.text().decode())
    return {
        (one.name, *sorted(one.labels.items())): one.value
        for family in families
        for one in family.samples
    }


def test_requests_are_counted_by_path_and_status():
    metrics = Metrics(lambda: 0, lambda: 0)
    for status, seconds in ((200, 0.2), (200, 0.003), (429, 0.0)):
        metrics.request("/a", status, seconds)
    found = samples(metrics)
    total = "prompt_tuning_requests_total"
    assert found[total, ("path", "/a"), ("status", "200")] == 2
    assert found[total, ("path", "/a"), ("status", "429")] == 1
    seconds = "prompt_tuning_request_seconds"
    assert found[f"{seconds}_sum", ("path", "/a")] == 0.203
    assert found[f"{seconds}_bucket", ("le", "0.005"), ("path", "/a")] == 2


def test_gauges_tell_what_is_there_now():
    here = [3, 7]
    metrics = Metrics(lambda: here[0], lambda: here[1])
    assert samples(metrics)["prompt_tuning_queue_rows",] == 3
    here[:] = 0, 8
    found = samples(metrics)
    assert found["prompt_tuning_queue_rows",] == 0
    assert found["prompt_tuning_prompts",] == 8
    assert found["process_resident_memory_bytes",] > 2**20


def test_two_servers_in_one_process_count_apart():
    one, two = (Metrics(lambda: 0, lambda: 0) for _ in range(2))
    one.read.inc(5)
    assert samples(one)["prompt_tuning_input_tokens_total",] == 5
    assert samples(two)["prompt_tuning_input_tokens_total",] == 0
