"""The event log: one port (`base`), one adapter in each other module; adapters never meet."""
