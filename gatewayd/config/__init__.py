"""The daemon's configuration: files, credentials and environment become one checked, frozen value."""
