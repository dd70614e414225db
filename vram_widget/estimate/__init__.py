"""From a run to an answer: how much memory, why, whether it fits, and how long it takes."""
