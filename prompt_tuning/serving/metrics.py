"""What GET /metrics tells Prometheus."""

from collections.abc import Callable
from typing import Any

import prometheus_client as prometheus

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one server; names begin with prompt_tuning_.

    Args:
      waiting, prompts: what the queue and the model hold now.
    """

    def __init__(
        self, waiting: Callable[[], float], prompts: Callable[[], float]
    ) -> None:
        self._registry = registry = prometheus.CollectorRegistry()

        def named(kind: Any, name: str, text: str, *labels: str, **more: Any) -> Any:
            full = f"prompt_tuning_{name}"
            return kind(full, text, labels, registry=registry, **more)

        counter, gauge = prometheus.Counter, prometheus.Gauge
        histogram = prometheus.Histogram
        self.requests = named(
            counter, "requests", "HTTP requests answered; 499: gone", "path", "status"
        )
        self.seconds = named(
            histogram,
            "request_seconds",
            "From a request's headers to the end of its answer",
            "path",
            buckets=_SECONDS,
        )
        self.rows = named(counter, "rows", "Texts given to the model", "prompt", "kind")
        self.read = named(counter, "input_tokens", "Tokens read, prompts apart")
        self.written = named(counter, "output_tokens", "Tokens written")
        self.batch_rows = named(
            histogram, "batch_rows", "Texts in a batch", buckets=_ROWS
        )
        self.batch_seconds = named(
            histogram, "batch_seconds", "The model's time", buckets=_SECONDS
        )
        self.wait_seconds = named(
            histogram, "queue_seconds", "A text's time in the queue", buckets=_SECONDS
        )
        self.reloads = named(
            counter, "prompt_reloads", "Prompt files that changed", "result"
        )
        named(gauge, "queue_rows", "Texts in the queue").set_function(waiting)
        named(gauge, "prompts", "Prompts that can be asked").set_function(prompts)
        prometheus.ProcessCollector(registry=registry)

    def request(self, path: str, status: int, seconds: float) -> None:
        """A request has ended."""
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return prometheus.generate_latest(self._registry)


CONTENT_TYPE = prometheus.CONTENT_TYPE_LATEST
