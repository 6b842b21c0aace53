"""What people see of the log: reports, charts, files, single requests."""
