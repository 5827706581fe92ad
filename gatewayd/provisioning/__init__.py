"""The one way in for keys and homes: signed objects from a file, verified, into the store."""
