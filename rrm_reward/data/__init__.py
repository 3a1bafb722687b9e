"""Training data: public sets as the rows that trainers read. Needs ``pip install 'rrm-reward[data]'``."""
