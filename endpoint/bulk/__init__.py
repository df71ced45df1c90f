"""Many recordings and long ones: found, cut, sent to as many workers as there are, joined, whatever is interrupted."""
