"""What people must hear of: what is noticed, who is told by which way, and the month's report by mail."""
