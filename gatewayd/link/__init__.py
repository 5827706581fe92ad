"""The link: keeping a lock within reach of its gateway."""
