THOUSAND_SEPARATOR = "\u202f"  # narrow no-break space
MONTH_DAY_FORMAT = "j N"
