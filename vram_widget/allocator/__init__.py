"""PyTorch's caching allocator: what of the card it takes for the tensors of a recorded step."""
