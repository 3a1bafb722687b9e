"""Preference pairs that train an RRM: public sets in, verl rows with the judge's own prompt out."""
