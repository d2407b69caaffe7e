"""Tailrace with other libraries: one file each, over the public API alone."""
