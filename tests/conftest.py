"""What `pytest`, called by itself, leaves out here."""

#: They are run alone: ``pytest tests/benchmarks``.
collect_ignore = ["benchmarks"]
