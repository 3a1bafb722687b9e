"""Things that tests and benchmarks share and that are not themselves tests."""
