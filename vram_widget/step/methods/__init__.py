"""What a training method makes of a weight: which tensors stand for it, and which of them train."""
