"""Rows of every source in its own schema, and a run of `rrm-reward data pairs` over them."""

import asyncio
import json
import threading
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as parquet

from rrm_reward import cli
from rrm_reward.data.pairs._row import Pair
from tests.support.loopback_sampler import LoopbackSampler


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def plus(a, b):
    return f"What is {a} plus {b}?"


def verl_style(prompt, truth):
    return {
        "data_source": "math",
        "prompt": [{"role": "user", "content": prompt}],
        "ability": "MATH",
        "reward_model": {"style": "rule-lighteval/MATH_v2", "ground_truth": truth},
        "extra_info": {"index": "0"},
    }


RRM = Path(__file__).parents[2] / "recipes/miniature/checkpoints/rrm"


DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.\n\n{}\n\nRemember to put your answer on its "
    'own line after "Answer:".'
)


SKYWORK_REWARD = [
    {
        "chosen": [user(f"Say {k}."), assistant(f"{k}")],
        "rejected": [user(f"Say {k}."), assistant(f"not {k}")],
        "source": "x",
    }
    for k in range(20)
]


ROWS = {
    "webinstruct": [
        {
            "id": k,
            "question": plus(k, 1),
            "answer": str(k + 1),
            "answer_type": "Integer",
            "category": "M",
            "difficulty": "P",
        }
        for k in range(6)
    ],
    "skywork-or1": [{**verl_style(plus(k, 10), json.dumps([str(k + 10)]))} for k in range(6)],
    "big-math": [
        {
            "problem": plus(k, 20),
            "answer": str(k + 20),
            "source": "s",
            "domain": ["d"],
            "llama8b_solve_rate": 0.5,
        }
        for k in range(6)
    ],
    "dapo": [verl_style(DAPO.format(plus(k, 30)), str(k + 30)) for k in range(6)],
}


OFFSETS = {"webinstruct": 1, "skywork-or1": 10, "big-math": 20, "dapo": 30}


TULU = [{"id": str(k), "messages": [user(f"Topic {k}?"), assistant("gone")], "source": "s"} for k in range(6)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(path):
    return parquet.read_table(path).to_pylist()


def manifest_of(out):
    return json.loads((out / "manifest.json").read_text())


@contextmanager
def running_sampler(**settings):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    sampler = LoopbackSampler(**settings)
    asyncio.run_coroutine_threadsafe(sampler.start(), loop).result(10)
    try:
        yield sampler
    finally:
        asyncio.run_coroutine_threadsafe(sampler.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def pairs(out, *arguments, sampler=None, labeller=None):
    command = ["data", "pairs", str(out), *map(str, arguments)]
    if "--val" not in arguments:
        command += ["--val", "0"]
    if sampler:
        command += [
            "--sampler",
            sampler.url,
            "--sampler-model",
            sampler.model,
            "--samples",
            "4",
            "--check-processes",
            "1",
        ]
    if labeller:
        command += ["--labeller", labeller.url, "--labeller-model", labeller.model]
    return cli.main(command)


def good_and_bad(question, n):
    return [f"{question} Bad. quality=0.1", f"{question} Good. quality=0.9"][:n]


def sums(count):
    """Rows of which every second one is only answered rightly."""
    return [{"question": plus(k, 1), "answer": str(k + 1)} for k in range(count)]


def every_second(question, n):
    first = int(question.split()[2])
    return [f"\\boxed{{{first + 1 + (i % 2) * (first % 2)}}}" for i in range(n)]


def pair(k, source="s"):
    return Pair(source, str(k), f"query {k}", f"better {k}", f"worse {k}")
