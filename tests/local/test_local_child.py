from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from massgen_mcp.backends.local_child import serve

Take = Callable[[Any], bool]
_END = None


class Engine:
    """Plays chunks. A callable among them is run instead: it may wait, or fail."""

    def __init__(self, *chunks: Any) -> None:
        self._chunks = chunks
        self.bodies: list[tuple[str, Mapping[str, Any]]] = []
        self.stopped_after = 0

    def handle_completions(self, body: Any, take: Take) -> None:
        self._play("completion", body, take)

    def handle_chat_completions(self, body: Any, take: Take) -> None:
        self._play("chat", body, take)

    def _play(self, kind: str, body: Any, take: Take) -> None:
        self.bodies.append((kind, body))
        for index, chunk in enumerate(self._chunks, 1):
            if callable(chunk):
                chunk()
            elif take(chunk):
                self.stopped_after = index
                return


class Talk:
    """Both ends of a child's pipes."""

    def __init__(self, opener: Callable[..., Any]) -> None:
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._said: queue.Queue[Any] = queue.Queue()
        self._thread = threading.Thread(
            target=serve,
            args=(iter(self._lines.get, _END), self._listen, opener),
        )
        self._thread.start()

    def _listen(self, line: bytes) -> None:
        self._said.put(json.loads(line))

    def say(self, **message: Any) -> None:
        self._lines.put(json.dumps(message).encode())

    def hear(self) -> Any:
        return self._said.get(timeout=10)

    def until_end(self) -> list[Any]:
        heard = [self.hear()]
        while heard[-1]["event"] not in {"done", "error"}:
            heard.append(self.hear())
        return heard

    def close(self) -> None:
        self._lines.put(_END)
        self._thread.join(10)


@contextmanager
def talk(opener: Callable[..., Any]) -> Generator[Talk]:
    conversation = Talk(opener)
    try:
        yield conversation
    finally:
        conversation.close()


@contextmanager
def loaded(engine: Engine, path: Path) -> Generator[Talk]:
    with talk(lambda *_args, **_options: engine) as conversation:
        conversation.say(op="load", path=str(path), context=0, threads=1, slots=2)
        assert conversation.hear()["event"] == "ready"
        yield conversation


def chunk(text: str = "", finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"text": text, "index": 0, "finish_reason": finish}], **more}


def test_loading_tells_what_the_model_is(gguf: Callable[..., Path]) -> None:
    path = gguf({"general.name": "Tiny", "general.architecture": "a", "a.context_length": 2048})
    asked: list[Any] = []

    def opener(*given: Any, **options: Any) -> Engine:
        asked.append((given, options))
        return Engine()

    with talk(opener) as conversation:
        conversation.say(op="load", path=str(path), context=0, threads=1, slots=2)

        assert conversation.hear() == {"event": "ready", "name": "Tiny", "template": False, "context": 2048}
    assert asked == [((str(path),), {"context": 2048, "threads": 1, "slots": 2, "template": False})]


def test_a_long_context_is_not_taken_unasked(gguf: Callable[..., Path]) -> None:
    path = gguf({"general.architecture": "a", "a.context_length": 131_072})
    with talk(lambda *_args, **_options: Engine()) as conversation:
        conversation.say(op="load", path=str(path), context=0, threads=1, slots=2)
        assert conversation.hear()["context"] == 4096

        conversation.say(op="load", path=str(path), context=32_768, threads=1, slots=2)
        assert conversation.hear()["context"] == 32_768


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ImportError("No module named 'xllamacpp'"), "missing"),
        (RuntimeError("failed to load model"), "load"),
        (OSError("too many open files"), "file"),
    ],
)
def test_why_a_model_does_not_load_is_told(error: Exception, why: str, gguf: Callable[..., Path]) -> None:
    def opener(*_args: Any, **_options: Any) -> Engine:
        raise error

    with talk(opener) as conversation:
        conversation.say(op="load", path=str(gguf({})), context=0, threads=1, slots=2)
        event = conversation.hear()

    assert (event["event"], event["why"]) == ("failed", why)
    assert str(error) in event["text"]


def test_a_file_that_is_no_model_is_not_given_to_native_code(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a model", encoding="utf-8")
    with talk(lambda *_args, **_options: pytest.fail("it was loaded")) as conversation:
        conversation.say(op="load", path=str(path), context=0, threads=1, slots=2)

        assert conversation.hear()["why"] == "file"


def test_a_completion_streams_and_ends_with_its_usage(gguf: Callable[..., Path]) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    engine = Engine(chunk(), chunk("Par"), chunk("is"), chunk("", "stop"), {"choices": [], "usage": usage})
    with loaded(engine, gguf({})) as conversation:
        conversation.say(op="complete", id=5, kind="completion", body={"prompt": "p", "n_predict": 3})
        events = conversation.until_end()

    assert events == [
        {"id": 5, "event": "busy"},
        {"id": 5, "event": "text", "text": "Par"},
        {"id": 5, "event": "text", "text": "is"},
        {"id": 5, "event": "busy"},
        {"id": 5, "event": "done", "finish": "stop", "input": 9, "output": 2, "cached": 4},
    ]
    [(kind, body)] = engine.bodies
    assert kind == "completion"
    assert (body["prompt"], body["n_predict"], body["stream"]) == ("p", 3, True)


def test_a_conversation_goes_the_other_way_in(gguf: Callable[..., Path]) -> None:
    delta = {"choices": [{"delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}]}
    end = {"choices": [{"delta": {"content": None}, "finish_reason": "length"}]}
    with loaded(Engine(delta, end), gguf({})) as conversation:
        conversation.say(op="complete", id=1, kind="chat", body={"messages": []})
        events = conversation.until_end()

    assert [event.get("text", event["event"]) for event in events] == ["Hi", "busy", "done"]
    assert events[-1]["finish"] == "length"


def test_the_engines_refusal_is_passed_on_once(gguf: Callable[..., Path]) -> None:
    refusal = {"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error"}}
    with loaded(Engine(refusal), gguf({})) as conversation:
        conversation.say(op="complete", id=1, kind="chat", body={})

        assert conversation.hear() == {
            "id": 1,
            "event": "error",
            "why": "exceed_context_size_error",
            "text": "too long",
        }
        conversation.say(op="complete", id=2, kind="chat", body={})
        assert conversation.hear()["id"] == 2


def test_an_exception_in_the_engine_is_that_requests_error(gguf: Callable[..., Path]) -> None:
    def fail() -> None:
        raise ValueError("bad body")

    with loaded(Engine(chunk("a"), fail), gguf({})) as conversation:
        conversation.say(op="complete", id=1, kind="chat", body={})

        assert conversation.until_end()[-1]["text"] == "ValueError: bad body"


def test_a_reply_that_just_stops_is_an_error(gguf: Callable[..., Path]) -> None:
    with loaded(Engine(chunk("a")), gguf({})) as conversation:
        conversation.say(op="complete", id=1, kind="chat", body={})

        assert conversation.until_end()[-1]["text"] == "the reply ended without a reason"


def test_a_request_before_any_model_is_an_error() -> None:
    with talk(lambda *_args, **_options: Engine()) as conversation:
        conversation.say(op="complete", id=1, kind="chat", body={})

        assert "no model is loaded" in conversation.hear()["text"]


def test_cancelling_stops_the_engine_at_its_next_chunk(gguf: Callable[..., Path]) -> None:
    cancelled, finished = threading.Event(), threading.Event()
    engine = Engine(chunk("a"), cancelled.wait, chunk("b"), chunk("c"), finished.set)
    with loaded(engine, gguf({})) as conversation:
        conversation.say(op="complete", id=1, kind="chat", body={})
        assert conversation.hear()["text"] == "a"
        conversation.say(op="cancel", id=1)
        conversation.say(op="cancel", id=99)
        conversation.say(op="nonsense")
        assert conversation.hear()["why"] == "protocol"
        cancelled.set()
        conversation.say(op="complete", id=2, kind="completion", body={})
        assert conversation.hear() == {"id": 2, "event": "text", "text": "a"}

    assert finished.wait(10)
    assert engine.stopped_after in {0, 3}
