"""verl: rewards of a group for a trainer that hands out one sample at a time.

verl calls its reward function with single samples, siblings of one prompt on different processes, and says neither how
many siblings there are nor whether it validates. Three routes lead from there to a group:

    reward manager      verl 0.8 and 0.9   siblings meet by uid; validation rows are told by ``extra_info.split``
    agent-loop manager  verl 0.9           knows n and validation exactly, and hears of rollouts that fail
    colocated trainer   verl 0.9           has the whole batch, and lets the judge share the policy's GPUs

Both meet in one named Ray actor, the hub, which holds the arena and the assembler:

    _settings.py      the nodes ``rrm`` and ``rrm_verl`` of the trainer's config, and what is checked at start-up
    _sample.py        a row of verl as a sample: group, slot, query, response
    _hub.py           the actor
    _client.py        calls to it with a deadline each; a lost hub costs rewards, never the run
    _rewarder.py      a sample's reward as verl takes it, in training and in validation
    _reward_model.py  the judge that verl serves itself, as its reward model
    _local_hub.py     the hub in the trainer's process, for the colocated trainer
    reward_manager.py, agent_loop.py, colocated.py    the classes that verl loads
    advantage.py      the advantage estimator ``rrm``
    exact_match.py    a rule for validation rows, for ``reward.custom_reward_function``
    check.py          everything that can be checked before a job is queued

Importing this package imports no trainer and no Ray. ``docs/verl.md`` is the user's page, ``recipes/verl`` has
configurations to start from.
"""
