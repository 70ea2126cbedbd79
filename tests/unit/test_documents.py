"""What the documents say is there, and points to what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_the_readme_has_the_figures_of_a_benchmark_with_machine_versions_and_date() -> None:
    text = (ROOT / "README.md").read_text()
    figures = text.split("<!-- bench -->")[1].split("<!-- /bench -->")[0]
    assert re.search(r"\d+ cores, .*Python 3\.\d+.*SQLite \d.*\d{4}-\d\d-\d\d", figures)
    assert re.search(r"\| full: one by one \| [\d,]+ \| [\d,]+ \|", figures)
    assert re.search(r"one at a time p50 / p99 ms.*\n.*\n\| full \| [\d.]+ \| [\d.]+ / ", figures)
    assert re.search(r"\n\| 1,000,000 \|.*→", figures)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)\)", document.read_text())
    missing = [
        link
        for link in links
        if "://" not in link and not (document.parent / link).resolve().exists()
    ]
    assert missing == []


def test_the_architecture_names_every_module_of_the_core_and_the_control_plane() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for package in ("core", "control_plane"):
        for module in (ROOT / "src" / "fastqueue" / package).glob("*.py"):
            if module.name not in ("__init__.py", "core.py"):
                assert f"`{module.name}`" in text, module


def test_every_test_that_the_guarantees_name_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "guarantees.md").read_text()))
    assert named
    written = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert {name for name in named if f"def {name}(" not in written} == set()
