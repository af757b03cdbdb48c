"""Speaks the embedded model's side of the conversation, following the script in the "model file".

The script: `load`, what happens at loading (default: ready; `log` is what the engine logs); `replies`, one
list of steps for each request, the last one repeated. A step is an event, or one of the words below.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, cast


def say(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def misbehave(word: str) -> None:
    """Do what native code may do at any time."""
    if word == "crash":
        sys.stderr.write("ggml: out of memory\n")
        sys.stderr.flush()
        os.abort()
    if word == "leave":
        os._exit(0)
    if word == "deaf":
        os.close(0)
    if word == "stay":
        time.sleep(0.5)
    if word == "garbage":
        sys.stdout.write("llama_model_loader: loaded\n")
        sys.stdout.flush()
    if word == "list":
        sys.stdout.write("[1]\n")
        sys.stdout.flush()
    if word == "flood":
        sys.stdout.write("x" * 3_000_000 + "\n")
        sys.stdout.flush()


def step(number: int, event: Any, heard: list[Any]) -> None:
    if event == "heard":
        say({"id": number, "event": "text", "text": json.dumps(heard)})
    elif event == "done":
        say({"id": number, "event": "done", "finish": "stop", "input": 11, "output": 7, "cached": 3})
    elif event == "length":
        say({"id": number, "event": "done", "finish": "length", "input": 11, "output": 9, "cached": 0})
    elif isinstance(event, str):
        misbehave(event)
    else:
        say({"id": number, **event})


def main() -> None:
    heard: list[Any] = []
    script: dict[str, Any] = {}
    requests = 0
    for line in sys.stdin:
        message = json.loads(line)
        heard.append({**message, "environ": sorted(os.environ)} if message["op"] == "load" else message)
        if message["op"] == "load":
            with open(message["path"], encoding="utf-8") as file:  # noqa: PTH123 - as small as it can be
                script = json.load(file)
            ready = {"event": "ready", "name": "Scripted 1B", "template": True, "context": 4096}
            load: Any = script.get("load", {})
            events = cast("list[Any]", load) if isinstance(load, list) else [load]
            for event in events:
                if isinstance(event, str):
                    misbehave(event)
                elif "log" in event:
                    sys.stderr.write("".join(f"0.00.373.430 E {line}\n" for line in event["log"]))
                else:
                    say({**ready, **event})
        elif message["op"] == "complete":
            replies = script["replies"]
            steps = replies[min(requests, len(replies) - 1)]
            requests += 1
            for event in steps:
                step(message["id"], event, heard)


main()
