"""What maintenance tasks do to the product itself."""
