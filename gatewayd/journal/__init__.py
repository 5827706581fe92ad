"""What happened, and proof that nothing is missing."""
