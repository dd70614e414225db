"""What DDP, FSDP and ZeRO leave on one GPU, and what its communication makes and holds."""
