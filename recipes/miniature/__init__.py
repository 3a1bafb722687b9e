"""The paper in miniature: a policy and a Reward Reasoning Model of about 100,000 parameters each, on one CPU thread.

`README.md` tells the story; `make_checkpoints.py` is the one command that remakes what `checkpoints/` holds.
"""
