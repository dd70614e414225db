"""What families are made of: projections as weights, and attention, MLP, experts and Mamba."""
