"""The works of all requests in one order, taken in batches by threads of their own. Knows no library."""
