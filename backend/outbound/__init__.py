"""How this process speaks HTTP to others: to addresses that were checked, and by a deadline."""
