"""The executor that OpenRLHF loads from the file of ``--train.agent_func_path`` (``--agent_func_path`` up to 0.10.1).

Such a file reads:

    from pathlib import Path
    from rrm_reward.integrations.openrlhf.executor import RRMAgentExecutor

    class AgentExecutor(RRMAgentExecutor):
        config_file = Path(__file__).with_name("webinstruct_rrm.yaml")

How siblings find each other: an engine's ``generate_responses`` makes n coroutines of `RRMAgentExecutor.execute` and
gathers them, all with one ``sampling_params`` object, which Ray has unpickled for this call alone. The object is the
group's name; it is kept alive while the group forms, so that no other takes its address. ``asyncio.gather`` starts
all n before any goes on, so after one turn of the loop the number that came is n: evaluation, with another n, and two
rows with the same prompt need nothing more.

What a run is spared: a rollout that fails is replaced (`rrm_reward.integrations.openrlhf._standin`), a reward that is
unknown is the group's mean, a judge that is gone costs rewards for a while. What it is not spared is a dead vLLM
engine: no later rollout could succeed, and the trainer should end with vLLM's own words. Nor a judge that the run was
to load and cannot (``judge.backend=ray`` or ``transformers``).
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from rrm_reward.integrations.openrlhf._version import require_openrlhf

require_openrlhf()

from openrlhf.utils.agent import SingleTurnAgentExecutor  # noqa: E402

from rrm_reward.errors import ConfigError  # noqa: E402
from rrm_reward.integrations.openrlhf._games import Game, LostGame  # noqa: E402
from rrm_reward.integrations.openrlhf._query import QueryReader, query_in, reference_in  # noqa: E402
from rrm_reward.integrations.openrlhf._rewarder import Rewarder, check_judge  # noqa: E402
from rrm_reward.integrations.openrlhf._settings import find_config, read_settings  # noqa: E402
from rrm_reward.integrations.openrlhf._shares import UNKNOWN, Share  # noqa: E402
from rrm_reward.integrations.openrlhf._standin import copy_of, empty_rollout  # noqa: E402
from rrm_reward.judge import render_query  # noqa: E402

_FATAL = ("EngineDeadError",)
"""Errors of vLLM, by name, after which its engine never answers again."""


class _Siblings:
    """The rollouts of one call of ``generate_responses``."""

    def __init__(self, sampling_params: Any) -> None:
        self.anchor = sampling_params
        self.id = uuid4().hex
        self.size = 0
        self.query = ""
        self.game: asyncio.Future[Game] | None = None
        self.survivor: dict[str, Any] | None = None
        self.gone: set[int] = set()

    def join(self) -> int:
        """A slot for one more."""
        self.size += 1
        return self.size - 1

    def abandon(self, slot: int) -> None:
        """This rollout was cut off from outside: nobody waits for it."""
        self.gone.add(slot)
        if self.game is not None and self.game.done() and not self.game.cancelled():
            self.game.result().withdraw(slot)


class RRMAgentExecutor(SingleTurnAgentExecutor):  # type: ignore[misc]
    """Rolls out as OpenRLHF's single-turn executor does, and rewards by judging the whole group.

    Attributes:
        config_file: the YAML where the variable ``RRM_CONFIG`` names none.
        rewarder: of this engine.

    Raises:
        ConfigError: with key, value and fix; also printed, since OpenRLHF notices an engine that did not start only
            when its weights are due, minutes later.
    """

    config_file: ClassVar[str | Path | None] = None

    def __init__(self) -> None:
        super().__init__(None)
        try:
            settings = read_settings(find_config(self.config_file))
            check_judge(settings)
            self.rewarder = Rewarder(settings)
        except ConfigError as error:
            print(f"rrm-reward: the configuration cannot work: {error}", file=sys.stderr, flush=True)
            raise
        self._label = settings.openrlhf.label
        self._queries = QueryReader()
        self._forming: dict[tuple[int, str], _Siblings] = {}

    async def execute(
        self,
        prompt: Any,
        label: Any,
        sampling_params: Any,
        max_length: int,
        hf_tokenizer: Any,
        llm_engine: Any,
        images: Any = None,
    ) -> dict[str, Any]:
        """One rollout with its reward, as OpenRLHF's executors return it."""
        key = (id(sampling_params), str(prompt))
        siblings = self._forming.setdefault(key, _Siblings(sampling_params))
        slot = siblings.join()
        await asyncio.sleep(0)
        if self._forming.get(key) is siblings:
            del self._forming[key]
        output: dict[str, Any] | None = None
        text: str | None = None
        try:
            output = await super().execute(
                prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images=images
            )
            text = _response(output, hf_tokenizer)
            siblings.survivor = siblings.survivor or output
        except Exception as error:
            if type(error).__name__ in _FATAL:
                siblings.abandon(slot)
                raise
            self.rewarder.complain("failed", "a rollout failed; its siblings go on without it", error)
        except BaseException:
            siblings.abandon(slot)
            raise
        try:
            async with self.rewarder.awake():
                share = await self._share(siblings, slot, text, prompt, label, hf_tokenizer)
        except BaseException:
            siblings.abandon(slot)
            raise
        if self.rewarder.wrong is not None:
            # not one reward would ever come
            raise self.rewarder.wrong
        if output is None:
            output = (
                copy_of(siblings.survivor)
                if siblings.survivor is not None
                else empty_rollout(
                    prompt,
                    label,
                    images,
                    hf_tokenizer,
                    max_length,
                    log_probs=getattr(sampling_params, "logprobs", None) is not None,
                )
            )
        output.update(
            reward=share.reward, scores=share.score, extra_logs={**share.logs(), **self.rewarder.health()}
        )
        return output

    async def _share(
        self, siblings: _Siblings, slot: int, text: str | None, prompt: Any, label: Any, tokenizer: Any
    ) -> Share:
        """What a rollout gets; waits for its siblings. Never raises, but for cancellation."""
        try:
            if siblings.game is None:
                siblings.game = asyncio.ensure_future(self._open(siblings, prompt, label, tokenizer))
            game = await asyncio.shield(siblings.game)
            if text is None:
                game.withdraw(slot)
            else:
                game.add(slot, text)
            share = await game.share(slot)
            self.rewarder.settled(siblings.id, slot, siblings.query, text, share)
            return share
        except Exception as error:
            self.rewarder.complain("errors", "a rollout gets no reward of its own", error)
            return UNKNOWN

    async def _open(self, siblings: _Siblings, prompt: Any, label: Any, tokenizer: Any) -> Game:
        try:
            query = query_in(label) if self._label == "query" else None
            siblings.query = self._queries.read(prompt, tokenizer) if query is None else render_query(query)
        except Exception as error:
            self.rewarder.complain(
                "errors", "the query of a prompt cannot be read; its group gets no rewards", error
            )
            return LostGame()
        reference = reference_in(label) if self._label == "reference" else None
        game = await self.rewarder.open(siblings.query, siblings.size, reference)
        for slot in siblings.gone:
            game.withdraw(slot)
        return game


def _response(output: dict[str, Any], tokenizer: Any) -> str:
    """The text that a rollout has written."""
    start, end = output["action_ranges"][-1]
    return str(tokenizer.decode(output["observation_tokens"][start:end], skip_special_tokens=True))
