"""Results for people: words, colours, charts and tables."""
