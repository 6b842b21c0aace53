"""The local spool, from a call's first record on this machine's disk to its row in the log."""
