"""Who may open: plain functions from a verified command, what is known and the time to a yes or a no."""
