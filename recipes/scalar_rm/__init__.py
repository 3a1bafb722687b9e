"""A Bradley-Terry reward model on preference pairs: the scalar baseline of the RRM."""
