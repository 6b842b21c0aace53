"""The roof: settings, addresses, start, and the pages and forms that span rooms."""

VERSION = "0.1.0"
