"""verl without a GPU: what the unmodified ``verl.trainer.main_ppo`` needs to run on a CPU.

For `make demo` and for this project's tests, not for production: the decoder below is a plain transformers model in
one process. verl itself is not changed on disk. Everything goes through its own doors (``VERL_USE_EXTERNAL_MODULES``,
the registries of platforms and rollout replicas, ``trainer.v1.sampler.custom_sampler``) and, where a version has no
door, through one attribute replaced at import, said so where it is done.

    plugin.py    what every process of the run imports; chooses by the version of verl
    devices.py   the functions that ``torch.cuda`` has and ``torch.cpu`` lacks
    verl09.py    the platform "cpu" of verl 0.9
    verl08.py    the same for verl 0.8, which has no platform registry
    rollout.py   a rollout engine: concurrent requests become one batched decode
    replay.py    verl's replay buffer with a poll of 0.02 s instead of 2 s
    launch.py    the command line and environment of such a run

Ray's worker processes import it by name, so `launch` puts the project's root on ``PYTHONPATH``.
"""
