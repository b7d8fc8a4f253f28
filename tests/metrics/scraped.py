"""Reads an exposition back, and makes troupes that are measured."""

from fakes import URL, Script
from prometheus_client.parser import text_string_to_metric_families

from callsheet.actors import Endpoint, TroupeSettings


def settings_with(metrics, *lines, **more):
    """Return the settings of a measured troupe whose provider follows a script."""
    more = {"transport": Script(*lines), "prompt_caching": "off"} | more
    return TroupeSettings(
        endpoint=Endpoint(URL, "sk-0123456789", "openai"), metrics=metrics, **more
    )


def values_in(text):
    """Return {name: {labels, sorted by their names, without the names: value}}."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


class Scrape:
    """The values of one scrape; a series that is not there is 0."""

    def __init__(self, text):
        self.text = text
        self.values = values_in(text)

    def __call__(self, name, *labels):
        """Return a value by the name without "callsheet_" and the labels in their names' order."""
        return self.values.get(f"callsheet_{name}", {}).get(labels, 0)

    def series(self, name):
        """Return {labels: value} of all series with a value above 0."""
        found = self.values.get(f"callsheet_{name}", {})
        return {labels: value for labels, value in found.items() if value}


async def scrape(metrics):
    return Scrape((await metrics.exposition()).body.decode())
