"""What a gateway shows to those who help from afar: how it does, and nobody's name, key or visit."""
