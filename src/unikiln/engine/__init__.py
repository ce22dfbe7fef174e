"""What executes guest instructions. The embedded engine is Unicorn, with the MMU model as its MMU."""
