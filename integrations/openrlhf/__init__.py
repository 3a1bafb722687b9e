"""OpenRLHF: rewards of a group for a trainer that rolls out all siblings of a prompt in one place.

OpenRLHF calls ``AgentExecutor.execute`` once per rollout (``--train.agent_func_path``), all siblings in one vLLM engine
actor and with one ``sampling_params`` object. So the group meets right there, in process: no hub, no configured group
size, and evaluation, which draws another number of rollouts, needs no telling apart.

    _version.py    which OpenRLHF this is
    _settings.py   one YAML with the nodes ``rrm`` and ``rrm_openrlhf``
    _query.py      the question in a prompt that a chat template has rendered
    _shares.py     a group's result as what OpenRLHF takes: reward, score, logs
    _rewarder.py   the arena of one engine; nothing in it raises or hangs
    _standin.py    a rollout in the place of one that failed
    executor.py    the executor: `RRMAgentExecutor`
    agent.py       a file for ``--train.agent_func_path``, configured by the variable ``RRM_CONFIG``
    check.py       everything that can be checked before a job is queued

Importing this package imports no trainer. ``docs/openrlhf.md`` is the user's page, ``recipes/openrlhf`` has
scripts to start from.

OpenRLHF's other hook, ``reward_func(queries, prompts, labels)`` of ``--reward.remote_url``, is no place to wait for
siblings: it runs on a pool of threads that a waiting group fills up for ever.
"""
