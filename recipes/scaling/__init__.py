"""How a judge's accuracy grows with votes (parallel) and with thinking tokens (sequential), in miniature."""
