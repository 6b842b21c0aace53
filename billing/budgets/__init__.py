"""Monthly budgets and prepaid credit: money reserved before a call and settled after it."""
