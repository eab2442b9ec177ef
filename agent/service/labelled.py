"""Adds labels to all metrics of a registry."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class Labelled(Collector):
    """Collects what a registry holds, with the same labels added to every sample."""

    def __init__(self, registry: CollectorRegistry, labels: Mapping[str, str]) -> None:
        self._registry = registry
        self._labels = dict(labels)

    def collect(self) -> Iterable[Metric]:
        """Returns the metrics of the registry; the caller may keep them."""
        for family in self._registry.collect():
            samples = []
            for sample in family.samples:
                labels = self._labels | sample.labels
                samples.append(sample._replace(labels=labels))
            family.samples = samples
            yield family
