"""Whether each model worked, was slow or was down, now and in the last months: looked at, kept, and shown in public."""
