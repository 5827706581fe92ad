"""The contract with the lock firmware, the phones and the centre: all that two parties must agree on, without I/O."""
