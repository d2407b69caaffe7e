"""Files that only type-check: `make check` is their test."""
