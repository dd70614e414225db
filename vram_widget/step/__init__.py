"""One training step, replayed: what it allocates, keeps and releases, operator by operator."""
