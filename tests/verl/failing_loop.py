"""An agent loop whose second rollout of every other prompt dies, as tools and sandboxes do."""

from __future__ import annotations

from typing import Any

from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

FAILING_SESSION = 1


class FailingLoop(SingleTurnAgentLoop):
    """verl's own loop, but for prompts with an even index session 1 raises."""

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> Any:
        if kwargs["session_id"] == FAILING_SESSION and kwargs["extra_info"]["index"] % 2 == 0:
            raise RuntimeError("this rollout was told to fail")
        return await super().run(sampling_params, **kwargs)
