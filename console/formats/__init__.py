"""How numbers and days are written, where this house differs from Django: as Babel and CLDR write them."""
