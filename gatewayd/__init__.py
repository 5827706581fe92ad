"""The gateway: keeps a lock within reach, decides who may open it, and proves what happened."""
