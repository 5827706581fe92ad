"""One SQLite file, one writer: everything that must outlive a power cut."""
