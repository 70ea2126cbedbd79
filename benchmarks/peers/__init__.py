"""Measure fastqueue beside its peers: the same work in one run, interleaved; `make bench-peers`."""
