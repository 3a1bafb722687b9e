"""Which reward trains best at one number of judge calls? `README.md` says how to ask, `docs/ablation.md` what came out.

rows.py      what is compared: schedules and ratings of one judge, and other judges
judges.py    the judges that are made for it: scalar reward models, and both kinds trained on narrow pairs
rewards.py   a row as a reward function of TRL, and as something that can be asked for a preference
run.py       one run: a row, a group size, a seed, to numbers
grid.py      many runs, each kept as a file of its own; what is there is not run again
analysis.py  runs to means, paired differences, and which metric would have warned
report.py    the page and its figures
"""
