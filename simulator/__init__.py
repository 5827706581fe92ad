"""The other side of every wire, good enough to be believed: lock, phone, central log and the radio between them."""
