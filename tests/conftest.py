"""Own the fixtures that run fastqueue for a test."""

from __future__ import annotations

import pytest

from harness import Cluster, Site


@pytest.fixture
async def cluster(tmp_path):
    """Give a control plane and subworkers on the test's own event loop, to be started."""
    cluster = Cluster(tmp_path)
    yield cluster
    await cluster.close()


@pytest.fixture
async def site(tmp_path):
    """Give a project folder in which to run fastqueue through the command line."""
    site = Site(tmp_path)
    yield site
    await site.close()
