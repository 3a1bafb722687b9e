"""Training of a Reward Reasoning Model by verl: GRPO on verdicts, +1 for the right one, else -1."""
