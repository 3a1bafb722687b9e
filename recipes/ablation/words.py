"""What the page says before each table: how it was measured, and how to read it. What came out, `report` writes."""

HEAD = """# Which reward trains best at one number of judge calls?

    make ablation               # judges, runs, this page; a second call goes on where the first ended
    python -m recipes.ablation --help

The miniature (`recipes/miniature`): a policy of 105,728 parameters learns in TRL to sort three digits, from prompts
without answers, with the reward of each row through `rrm_reward.integrations.trl`. TRL, because a run takes seconds
there, and verl's start alone takes longer; the rewards are the same, bit by bit (`tests/test_same_numbers.py`).
{steps} GRPO steps of {rollouts} rollouts, whatever the size of a group. TRL divides the rewards of a group by their
standard deviation (but in the row that says otherwise), so ratings differ by their shape in a group and not by their
scale. Accuracy is that of sampled answers to the 100 held-out queries, 10 each at the end and 1 each every 5 steps.

**One budget**: {budgets}; every row that can keeps to it.
A ring of 8 has 8 or 16 matches, so it plays 8; all pairs are as many as they are; what scores asks once a response.
*Balanced pairs* are part of a round robin in which everybody plays equally often. For a budget to be spent, responses
must differ, as real ones do: of 8 or 16 rollouts of this policy {first} are distinct at the first step and {last} at
the last. So every rollout carries a wording that no judge can read (`recipes/ablation/wording.py`), and equal answers
are compared too: the call is spent, and the judge tosses its coin, as between two real responses that are equally
right. The table shows what was really asked.

Same seed, same prompts in the same order: differences are paired by seed. Intervals are 95 % by Student's t. The scalar
models and the narrow RRM are trained anew for every seed; the RRM is one judge, the shipped one. Runs: {runs}; seconds
of a run: {seconds} on average, {slowest} at most (one thread on a machine that others used).
"""

READ_OFF = """
## Read off the table

A row is compared with the reference, paired by seed; some with another row, as it says. *Both sizes* takes the runs of
all group sizes together, paired by size and seed. Told apart means that the interval leaves out 0; of fewer than 3
pairs of runs nothing is said. These are {tested} intervals at 95 %: about {chance} of them would leave out 0 by chance
if nothing differed.

"""

WATCHED = """
## What the judge did

`prefers_correct`: how often it prefers the right answer to what the *current* policy says wrong, both orders, measured
every 5 steps where there are at least 8 mistakes: mean over runs and steps, the least of any run at any step, the mean
of the last ones. Then the distinct answers of a group, and the share of verdicts for Assistant 1, in the first and in
the last five steps.

| group | reward | `prefers_correct`: mean, least, last | distinct answers | for Assistant 1 |
|---|---|---|---|---|
"""

JUDGES = """
## Judges that can be hacked

The narrow judges were trained on pairs whose wrong answers are never longer than a right one. How many judges there
are of each kind, their accuracy on 400 held-out pairs, of the kind the narrow ones know and of all kinds, how often
each preferred the right answer to what the policy it trained last said wrong, and what became of the runs:

| judge | judges | narrow pairs | all pairs | the trained policy's mistakes | runs that collapsed | from step |
|---|---|---|---|---|---|---|
"""

WARNED = """
## What would have warned

A run collapses if it falls to less than half of its best accuracy. The collapse begins when it falls more than .1
below its best for the rest of the run (measured every 5 steps). Only an alarm before that is a warning. Thresholds were
set before the runs. A run without verdicts has no share of them, and does not count for that alarm. The runs of the
untrained judge are counted apart: there an alarm that rings is right whatever becomes of the run.

The share of verdicts for Assistant 1 is that of Wilson's interval (`rrm/first_share_low`, `_high`), as in the
package's own alarm. **It says little late in a run**: a policy that has learnt gives equal answers, and between equals
an RRM that is right on nearly every pair still prefers a side. Read it at the start, when responses still differ.

| alarm | before / late / never, of the collapsed | false alarms, of the healthy | rang under the untrained judge |
|---|---|---|---|
"""

TOY = """
What this cannot say: it is a toy. Judge and policy have two layers, answers have three digits, the RRM is right on
{broad} of held-out pairs, and nothing here is a statement about RRM-7B. Read it for the shape of the effects.
"""
