"""Real, small data and ordinary modules for the demo, the examples and the benchmarks."""
