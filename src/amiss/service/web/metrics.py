"""Figures of the service for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

#: Seconds of a request, and images of a batch.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """What is counted; each service has its own, so that several can live in one process.

    Attributes:
        requests: answered, by route and status.
        seconds: that a request took, by route.
        images: by model and result: normal, anomalous, or unreadable.
        batches: images scored together.
        reloads: of model files, by model and whether the new file could be read.
        drift: by model, 1 where its pictures have changed.
        drift_evidence: by model, the decimal logarithm of the evidence for that.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "amiss_requests", "Requests that were answered.", ("route", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "amiss_request_seconds", "Seconds that a request took.", ("route",), buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self.images = Counter("amiss_images", "Images by result.", ("model", "result"), registry=self._registry)
        self.batches = Histogram(
            "amiss_batch_images", "Images scored together.", buckets=_IMAGES, registry=self._registry
        )
        self.reloads = Counter(
            "amiss_model_reloads", "Model files read anew.", ("model", "result"), registry=self._registry
        )

        self.drift = Gauge("amiss_drift", "1 where the pictures have changed.", ("model",), registry=self._registry)
        self.drift_evidence = Gauge(
            "amiss_drift_log10_evidence", "Decimal logarithm of the evidence for a change.", ("model",),
            registry=self._registry,
        )  # fmt: skip

    def waiting(self, count: Callable[[], float]) -> None:
        """Show what `count` gives as the number of images that wait."""
        gauge = Gauge("amiss_images_waiting", "Images accepted and not yet answered.", registry=self._registry)
        gauge.set_function(count)

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)
