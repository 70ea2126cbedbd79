"""Own how hypothesis plays here: the same examples every time, however slow the machine is."""

from __future__ import annotations

import pytest
from tests.fuzz.service import FedControlPlane


@pytest.fixture(scope="module")
def fed(tmp_path_factory):
    """Give a control plane that lives on through all examples."""
    control_plane = FedControlPlane(tmp_path_factory.mktemp("fed"))
    yield control_plane
    control_plane.close()
