"""The numbered steps from an empty file to the newest schema; a released step never changes."""
