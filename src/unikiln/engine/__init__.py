"""What executes guest instructions."""
