"""The commands: one module each, and the only place that prints or exits. stdout is data, stderr is messages."""
