"""The Unix socket through which commands on this machine look inside the daemon. Nothing here moves a bolt."""
