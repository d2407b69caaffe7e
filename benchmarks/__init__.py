"""Measures Tailrace beside what people would use instead: `make bench`."""
