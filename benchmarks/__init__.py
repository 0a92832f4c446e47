"""How fast the library is, how it grows, and how good its schedules are. `python -m benchmarks` runs them."""
