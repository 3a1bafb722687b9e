"""The in-process backend on a tiny random model with a real byte-level tokenizer, loaded by the real code."""

from __future__ import annotations

import asyncio
import math
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from recipes.miniature.task import all_queries, make_pair, slip
from rrm_reward.config import JudgeConfig
from rrm_reward.errors import ConfigError
from rrm_reward.judge import BackendError, Completion, Judge, Sampling, build_messages
from rrm_reward.judge._forcing import WITHIN_THOUGHT
from rrm_reward.judge._generation import Row, generate
from rrm_reward.judge._tokenizer import load_tokenizer
from rrm_reward.judge._transformers import TransformersBackend
from rrm_reward.types import NoVerdict
from tests.support.waiting import until

CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>{% endif %}"
)
SPECIALS = ["<pad>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<think>", "</think>"]
MESSAGES = [{"role": "user", "content": "Which is better?"}]


def make_tokenizer(pre_tokenizer: Any = None) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([m["content"] for m in build_messages("1 + 1?", "2", "3")], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<|end|>")
    fast.chat_template = CHAT
    return fast


def make_model(vocabulary: int) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, head_dim=8,
            num_key_value_heads=1, intermediate_size=32, max_position_embeddings=2048, tie_word_embeddings=False,
            eos_token_id=1, pad_token_id=0, bos_token_id=None,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("judge")
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(path)
    model = make_model(len(tokenizer))
    # What a careless default would do to sampling; it must have no effect.
    model.generation_config.update(do_sample=True, temperature=0.01, top_k=1, repetition_penalty=5.0)
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Iterator[TransformersBackend]:
    backend = TransformersBackend(str(folder), device="cpu")
    asyncio.run(backend.start())
    yield backend
    asyncio.run(backend.aclose())


@pytest.fixture
def backend(loaded: TransformersBackend, monkeypatch: pytest.MonkeyPatch) -> TransformersBackend:
    """The loaded backend as it was after `start`."""
    for name in ("_batches", "_max_batch", "_eos"):
        monkeypatch.setattr(loaded, name, getattr(loaded, name))
    return loaded


@contextmanager
def saying(backend: TransformersBackend, *tokens: str, then: str = "<|end|>") -> Iterator[None]:
    """While this lasts, the model says these tokens in turn and then that one, whatever the prompt."""
    ids = [backend.tokenizer.convert_tokens_to_ids(token) for token in (*tokens, then)]
    said = 0

    def begin(model: Any, args: Any, inputs: dict[str, Any]) -> None:
        nonlocal said
        said = 0 if inputs["input_ids"].shape[1] > 1 else said + 1

    def speak(head: Any, inputs: Any, logits: Any) -> Any:
        logits = torch.full_like(logits, -1e4)
        logits[..., ids[min(said, len(ids) - 1)]] = 1e4
        return logits

    hooks = [
        backend._model.register_forward_pre_hook(begin, with_kwargs=True),
        backend._model.lm_head.register_forward_hook(speak),
    ]
    yield
    for hook in hooks:
        hook.remove()


@contextmanager
def held(backend: TransformersBackend) -> Iterator[threading.Event]:
    """The model stops at its next token, until the event is set; so a batch lasts as long as a test wants."""
    go = threading.Event()

    def wait(*_: Any) -> None:
        assert go.wait(120)

    hook = backend._model.register_forward_pre_hook(wait)
    try:
        yield go
    finally:
        go.set()
        hook.remove()


@contextmanager
def counting(backend: TransformersBackend) -> Iterator[list[None]]:
    """A list that grows by an item with every token."""
    tokens: list[None] = []
    hook = backend._model.register_forward_hook(lambda *_: tokens.append(None))
    try:
        yield tokens
    finally:
        hook.remove()


async def test_calls_made_together_are_one_batch(backend: TransformersBackend) -> None:
    calls = [backend.complete(MESSAGES, 2, Sampling(max_tokens=4)) for _ in range(10)]
    answers = await asyncio.gather(*calls)
    assert backend._batches == 1
    assert all(len(answer) == 2 for answer in answers)
    assert len({completion.text for answer in answers for completion in answer}) > 5


async def test_calls_made_while_a_batch_runs_are_the_next_batch(backend: TransformersBackend) -> None:
    with held(backend) as go:
        first = asyncio.create_task(backend.complete(MESSAGES, 1, Sampling(max_tokens=4)))
        await until(lambda: backend._batch)
        rest = [asyncio.create_task(backend.complete(MESSAGES, 1, Sampling(max_tokens=4))) for _ in range(5)]
        await until(lambda: len(backend._queue) == 5)
        go.set()
        await asyncio.gather(first, *rest)
    assert backend._batches == 2


async def test_the_event_loop_is_not_blocked(backend: TransformersBackend) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    with held(backend) as go:
        ticking = asyncio.create_task(tick())
        call = asyncio.create_task(backend.complete(MESSAGES, 1, Sampling(max_tokens=4)))
        await until(lambda: backend._batch)
        before = ticks
        await until(lambda: ticks > before + 3)
        go.set()
        await call
    ticking.cancel()


async def test_the_special_tokens_of_reasoning_survive_and_those_of_the_chat_do_not(
    backend: TransformersBackend,
) -> None:
    with saying(backend, "x", "</think>", "y"):
        [completion] = await backend.complete(MESSAGES, 1, Sampling())
    assert (completion.text, completion.finish_reason) == ("x</think>y", "stop")
    assert completion.completion_tokens == 4
    rendered = backend.tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
    assert completion.prompt_tokens == len(backend.tokenizer(rendered)["input_ids"])


async def test_each_request_ends_at_its_own_limit(backend: TransformersBackend) -> None:
    limits = [1, 3, 9]
    with saying(backend, then="x"):
        calls = [backend.complete(MESSAGES, 1, Sampling(max_tokens=limit)) for limit in limits]
        answers = await asyncio.gather(*calls)
    assert backend._batches == 1
    assert [answer[0].completion_tokens for answer in answers] == limits
    assert {answer[0].finish_reason for answer in answers} == {"length"}


async def test_prompts_of_different_lengths_do_not_disturb_each_other(backend: TransformersBackend) -> None:
    greedy = Sampling(temperature=0.0, max_tokens=8)
    chats = [[{"role": "user", "content": "word " * n}] for n in (1, 7, 40)]
    alone = [(await backend.complete(chat, 1, greedy))[0].text for chat in chats]
    together = await asyncio.gather(*(backend.complete(chat, 1, greedy) for chat in chats))
    assert [answer[0].text for answer in together] == alone


async def test_greedy_and_sampled_requests_share_a_batch(backend: TransformersBackend) -> None:
    greedy, hot = Sampling(temperature=0.0, max_tokens=6), Sampling(temperature=1.5, max_tokens=6)
    cold, warm = await asyncio.gather(
        backend.complete(MESSAGES, 8, greedy), backend.complete(MESSAGES, 8, hot)
    )
    assert backend._batches == 1
    assert len({completion.text for completion in cold}) == 1
    assert len({completion.text for completion in warm}) > 4


async def test_the_same_calls_with_the_same_seed_give_the_same_completions(folder: Path) -> None:
    async def draw(seed: int, request_seed: int | None) -> list[str]:
        backend = TransformersBackend(str(folder), device="cpu", seed=seed)
        await backend.start()
        sampling = Sampling(temperature=1.0, max_tokens=8, seed=request_seed)
        texts = [c.text for _ in range(2) for c in await backend.complete(MESSAGES, 3, sampling)]
        await backend.aclose()
        return texts

    once = await draw(1, None)
    assert once == await draw(1, None)
    assert once[:3] != once[3:]
    assert once != await draw(2, None)
    seeded = await draw(1, 5)
    assert seeded[:3] == seeded[3:]


async def test_a_trainer_in_the_same_process_keeps_its_random_state(backend: TransformersBackend) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    await backend.complete(MESSAGES, 4, Sampling(max_tokens=8))
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.0, 0.7)])
def test_samples_follow_the_softmax(temperature: float, top_p: float) -> None:
    model = make_model(8)
    prompt = [3, 4, 5]
    rows = [Row(prompt, temperature, top_p, 1, lambda: False)] * 4000
    drawn = Counter(ids[0] for ids in generate(model, rows, pad=0, eos=[1], seed=0))
    with torch.inference_mode():
        p = (model(torch.tensor([prompt])).logits[0, -1] / temperature).softmax(-1)
    # The naive twin of nucleus sampling: the smallest set of likeliest tokens with mass top_p.
    kept, mass = [], 0.0
    for token in p.argsort(descending=True).tolist():
        if mass >= top_p:
            break
        kept.append(token)
        mass += p[token].item()
    assert set(drawn) <= set(kept)
    for token in kept:
        expected = p[token].item() / mass
        assert abs(drawn[token] / 4000 - expected) < 4 * math.sqrt(expected / 4000)


async def test_a_cancelled_call_leaves_the_queue(backend: TransformersBackend) -> None:
    with held(backend) as go:
        running = asyncio.create_task(backend.complete(MESSAGES, 1, Sampling(max_tokens=4)))
        await until(lambda: backend._batch)
        queued = asyncio.create_task(backend.complete(MESSAGES, 1, Sampling(max_tokens=1500)))
        await until(lambda: backend._queue)
        queued.cancel()
        go.set()
        await running
    with pytest.raises(asyncio.CancelledError):
        await queued
    await backend._runner
    assert backend._batches == 1


async def test_a_cancelled_call_ends_its_row_at_the_next_token(backend: TransformersBackend) -> None:
    with saying(backend, then="x"), counting(backend) as tokens, held(backend) as go:
        call = asyncio.create_task(backend.complete(MESSAGES, 1, Sampling(max_tokens=1900)))
        await until(lambda: backend._batch)
        call.cancel()
        await asyncio.sleep(0)
        go.set()
        await backend._runner
    assert len(tokens) < 1000


async def test_a_failed_batch_fails_its_calls_and_no_others(
    backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise ValueError("a bad day")

    with monkeypatch.context() as patch:
        patch.setattr(backend._model, "generate", broken)
        with pytest.raises(BackendError, match="a bad day"):
            await backend.complete(MESSAGES, 1, Sampling(max_tokens=2))
    assert len(await backend.complete(MESSAGES, 1, Sampling(max_tokens=2))) == 1


async def test_a_batch_that_does_not_fit_the_memory_is_halved(
    backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sizes = backend._model.generate, []

    def small(input_ids: Any, **options: Any) -> Any:
        sizes.append(len(input_ids))
        if len(input_ids) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return real(input_ids=input_ids, **options)

    monkeypatch.setattr(backend._model, "generate", small)
    answers = await asyncio.gather(*(backend.complete(MESSAGES, 1, Sampling(max_tokens=2)) for _ in range(8)))
    assert [len(answer) for answer in answers] == [1] * 8
    assert sizes == [8, 4, 2, 2, 2, 2]


async def test_a_prompt_that_exceeds_the_context_fails_alone(folder: Path) -> None:
    backend = TransformersBackend(str(folder), device="cpu", context_tokens=50)
    await backend.start()
    long = [{"role": "user", "content": "x y " * 100}]
    answers = await asyncio.gather(
        backend.complete(long, 2, Sampling()),
        backend.complete(MESSAGES, 1, Sampling(temperature=0.0)),
        return_exceptions=True,
    )
    assert isinstance(answers[0], BackendError)
    [completion] = answers[1]
    assert completion.prompt_tokens + completion.completion_tokens <= 50
    await backend.aclose()


async def test_closing_fails_what_is_under_way_and_returns(folder: Path) -> None:
    backend = TransformersBackend(str(folder), device="cpu")
    await backend.start()
    with saying(backend, then="x"), counting(backend) as tokens, held(backend) as go:
        calls = [
            asyncio.create_task(backend.complete(MESSAGES, 1, Sampling(max_tokens=1900))) for _ in range(2)
        ]
        await until(lambda: backend._batch)
        closing = asyncio.create_task(backend.aclose())
        await asyncio.sleep(0)
        go.set()
        await closing
    assert len(tokens) < 1000
    for call in calls:
        with pytest.raises(BackendError, match="closed"):
            await call
    await backend.aclose()
    with pytest.raises(BackendError, match="start"):
        await backend.complete(MESSAGES, 1, Sampling())


def test_one_backend_serves_event_loops_one_after_the_other(folder: Path) -> None:
    # A trainer with synchronous rewards calls asyncio.run at every step.
    backend = TransformersBackend(str(folder), device="cpu")
    asyncio.run(backend.start())
    for _ in range(2):
        assert len(asyncio.run(backend.complete(MESSAGES, 1, Sampling(max_tokens=2)))) == 1
    asyncio.run(backend.aclose())


# Start-up


async def test_a_judge_of_the_configuration_compares_in_process(folder: Path) -> None:
    config = JudgeConfig(
        backend="transformers", model=str(folder), max_tokens=64, device="cpu", votes=2, order="both"
    )
    judge = Judge.from_config(config)
    await judge.start()
    assert isinstance(judge._backend, TransformersBackend)
    words = judge._backend.tokenizer.tokenize("\\boxed{Assistant 1}")
    with saying(judge._backend, "</think>", *words):
        judgment = await judge.compare("1 + 1?", judge.view("2"), judge.view("3"))
    await judge.aclose()
    assert judgment.p == 0.5
    assert [vote.verdict.choice for vote in judgment.votes] == [1, 1, 1, 1]
    assert "<|end|>" not in judge.view("2<|end|>"), "the judge's own special tokens are known"


async def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tokenizer can be loaded") as caught:
        await TransformersBackend(str(tmp_path / "nowhere")).start()
    assert caught.value.key == "judge.model"


async def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no model can be loaded"):
        await TransformersBackend(str(tmp_path)).start()


async def test_a_tokenizer_without_a_chat_template_is_refused(folder: Path, tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no chat template") as caught:
        await TransformersBackend(str(folder), tokenizer=str(tmp_path)).start()
    assert caught.value.key == "judge.tokenizer"


async def test_a_tokenizer_that_cannot_say_the_verdict_is_refused(folder: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "<|end|>": 1}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<|end|>")
    fast.chat_template = CHAT
    fast.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="does not give back"):
        await TransformersBackend(str(folder), tokenizer=str(tmp_path)).start()


async def test_a_tokenizer_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<extra>"])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="give the judge's own tokenizer"):
        await TransformersBackend(str(folder), tokenizer=str(tmp_path)).start()


async def test_a_tokenizer_whose_pre_tokenizer_was_dropped_is_refused(tmp_path: Path) -> None:
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer = make_tokenizer(
        pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    )
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    text = "I think, therefore I am."
    loaded = AutoTokenizer.from_pretrained(tmp_path)(text, add_special_tokens=False)["input_ids"]
    dropped = loaded != tokenizer(text, add_special_tokens=False)["input_ids"]
    # transformers 5.10 and 5.23 drop it; a version that does not is to be accepted.
    with pytest.raises(ConfigError, match="drops a custom pre-tokenizer") if dropped else nullcontext():
        load_tokenizer(str(tmp_path), "judge.tokenizer")
    (tmp_path / "config.json").unlink()
    load_tokenizer(str(tmp_path), "judge.tokenizer")


# Forced verdicts


async def test_a_completion_cut_by_its_limit_carries_the_ids_it_is_continued_from(
    loaded: TransformersBackend,
) -> None:
    [cut] = await loaded.complete(MESSAGES, 1, Sampling(max_tokens=5, continuable=True))
    [plain] = await loaded.complete(MESSAGES, 1, Sampling(max_tokens=5))
    assert cut.finish_reason == "length"
    assert len(cut.sequence) == cut.prompt_tokens + cut.completion_tokens
    assert loaded.tokenizer.decode(cut.sequence[-5:], skip_special_tokens=False) == cut.text
    assert plain.sequence == ()


async def test_what_comes_next_is_what_the_model_itself_says(loaded: TransformersBackend) -> None:
    [cut] = await loaded.complete(MESSAGES, 1, Sampling(max_tokens=5, continuable=True))
    likely = await loaded.next_token(cut, WITHIN_THOUGHT)
    ending = loaded.tokenizer(WITHIN_THOUGHT, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = loaded._model(torch.tensor([[*cut.sequence, *ending]])).logits[0, -1]
    said = logits.log_softmax(-1)
    best = int(said.argmax())
    assert 5 < len(likely) <= 20, "tokens that are parts of a character share a text"
    assert likely[loaded.tokenizer.decode([best])] == pytest.approx(float(said[best]), abs=1e-4)


async def test_a_sequence_that_fills_the_context_cannot_be_continued(loaded: TransformersBackend) -> None:
    completion = Completion("...", "length", sequence=tuple([5] * 2040))
    with pytest.raises(BackendError, match="leave no room"):
        await loaded.next_token(completion, WITHIN_THOUGHT)


RRM = Path(__file__).parents[2] / "recipes" / "miniature" / "checkpoints" / "rrm"


@pytest.mark.parametrize(("thinking_tokens", "least"), [(10, 20), (12, 20)])
async def test_a_real_rrm_names_the_better_response_when_it_is_cut_in_the_middle_of_its_thought(
    thinking_tokens: int, least: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The miniature RRM thinks for 14 tokens, and is sure of its verdict a little before it says so."""
    rng = random.Random(0)
    pairs = [make_pair(query, slip(query, rng), rng) for query in rng.sample(all_queries(held_out=True), 24)]
    config = JudgeConfig(
        backend="transformers",
        model=str(RRM),
        device="cpu",
        force="truncated",
        thinking_tokens=thinking_tokens,
    )
    judge = Judge.from_config(config)
    await judge.start()
    judgments = await asyncio.gather(*(judge.compare(p.query, p.first, p.second) for p in pairs))
    await judge.aclose()
    votes = [vote for judgment in judgments for vote in judgment.votes]
    truncated = sum(vote.verdict.reason is NoVerdict.TRUNCATED for vote in votes)
    assert truncated == judge.counts.forced >= 20
    assert not caplog.records, "a forced verdict is no reason for an alarm"
    right = [
        judgment.p is not None and (judgment.p > 0.5) == (pair.better == 1)
        for judgment, pair in zip(judgments, pairs, strict=True)
    ]
    assert sum(right) >= least
