"""The dashboard asks for metrics and labels that exist, and for all of them."""

from __future__ import annotations

import json
import re

from django_cfg.tasks.worker.roster import Status
from tests.docs.conftest import REPOSITORY

DASHBOARD = REPOSITORY / "docs" / "grafana-dashboard.json"
GUIDE = REPOSITORY / "docs" / "guides" / "monitoring.md"
ROW = re.compile(r"^\| `(dramatiq_\w+)` \|([^|]*)\|", re.M)


def documented() -> dict[str, set[str]]:
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in ROW.findall(GUIDE.read_text())}


def test_the_dashboard_shows_every_documented_metric_and_no_other() -> None:
    found = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            names = re.findall(r"dramatiq_\w+", target["expr"])
            found |= {name.removesuffix("_bucket") for name in names}
    assert found == set(documented())


def test_the_dashboard_groups_by_labels_that_the_metrics_have() -> None:
    known = documented()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            (name,) = {found.removesuffix("_bucket") for found in re.findall(r"dramatiq_\w+", expression)}
            used = {label for labels in re.findall(r"by \(([\w, ]+)\)", expression) for label in labels.split(", ")}
            used |= set(re.findall(r"[{,](\w+)(?:=|!=|=~)", expression))
            assert used - {"le"} <= known[name], (panel["title"], used)


def test_no_two_panels_share_an_id_or_a_place() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_the_guide_names_every_status_of_a_worker() -> None:
    assert all(f"`{status}`" in GUIDE.read_text() for status in Status)
