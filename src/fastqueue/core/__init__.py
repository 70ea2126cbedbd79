"""The queue as a pure state machine: it decides everything and does nothing."""
