"""From a team file's block to a backend, and the packages and prices it needs on the way."""

from __future__ import annotations

import gc
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import anyio
import pytest

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.open import open_backend
from massgen_mcp.backends.options import Options, Price
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.prices import Prices, cost_at, reported_cost, reported_stands
from massgen_mcp.backends.registry import BACKENDS, options_class
from massgen_mcp.backends.retry import ask
from massgen_mcp.backends.scripted import Backend as Scripted, Options as ScriptedOptions
from massgen_mcp.backends.sdk import load
from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Message, Request, parse_arguments
from massgen_mcp.secrets import Secrets
from massgen_mcp.usage import Usage
from tests.backends.chats import HELLO, KEY, reply_of
from tests.backends.wire import make_context, opened, wire

pytestmark = pytest.mark.anyio

REQUEST = Request(messages=(Message(role="user", text="hi"),))
USAGE = Usage(requests=1, input=1_000_000, output=100_000, cached=400_000)


async def test_a_row_s_module_is_opened_with_the_options(pool: Pool) -> None:
    secrets = Secrets()
    async with wire(HELLO) as server:
        options = options_of("vllm", model="m", base_url=server.url, api_key=KEY)
        backend = await opened(options, make_context("vllm", pool, secrets=secrets))
        assert (await reply_of(backend)).text == "Hello."
        await backend.aclose()
    assert KEY not in secrets.redact(f"x {KEY} x")


def options_of(kind: str, **block: object) -> Options:
    return options_class(BACKENDS[kind]).model_validate({"type": kind, **block})


async def test_a_key_from_the_environment_is_a_secret_from_then_on(pool: Pool) -> None:
    secrets = Secrets()
    context = make_context("groq", pool, secrets=secrets, environ={"GROQ_API_KEY": KEY})
    await open_backend(options_of("groq"), context)
    assert secrets.redact(KEY) == "[GROQ_API_KEY]"


async def test_a_row_that_is_not_run_yet_says_so(pool: Pool) -> None:
    info = BackendInfo(type="later", title="Later", vendor="x", module="nothing", executes=False)
    context = make_context("scripted", pool)
    with pytest.raises(BackendError, match=r"Later \(later\) can't answer in this version") as caught:
        await open_backend(Options(type="later"), replace(context, info=info))
    assert (caught.value.kind, caught.value.connected) == ("unavailable", False)


async def test_a_team_file_can_hold_the_replies(pool: Pool) -> None:
    options = ScriptedOptions.model_validate(
        {
            "type": "scripted",
            "replies": [
                "plain text",
                {"calls": [{"name": "vote", "arguments": {"answer": "agent1.1"}}]},
                {"error": {"kind": "auth", "message": "No."}},
            ],
            "loop": True,
        }
    )
    backend = await open_backend(options, make_context("scripted", pool, clock=SystemClock()))
    assert isinstance(backend, Scripted)
    first, second = await reply_of(backend), await reply_of(backend)
    assert first.text == "plain text"
    assert parse_arguments(second.calls[0]) == {"answer": "agent1.1"}
    for _ in range(2):
        with pytest.raises(BackendError, match=r"No\.") as caught:
            await reply_of(backend)
        assert (caught.value.attempts, caught.value.requests) == (1, 1)
        assert (await reply_of(backend)).text == "plain text"
        await reply_of(backend)
    await backend.aclose()


async def test_a_script_that_is_over_says_so(pool: Pool) -> None:
    backend = await opened(ScriptedOptions(type="scripted", loop=True), make_context("scripted", pool))
    with pytest.raises(BackendError, match="has 0 replies, and one more was asked for"):
        await ask(backend, REQUEST, clock=SystemClock(), random=Random(1))


async def test_a_package_is_loaded_once() -> None:
    assert await load("openai") is await load("openai")


def test_what_vendors_packages_look_into_is_whole_before_any_of_them_is_used() -> None:
    script = (
        "import sys, importlib.util, anyio\n"
        "from massgen_mcp.backends.sdk import load\n"
        "there = importlib.util.find_spec('httpx') is not None\n"
        "anyio.run(load, 'colorsys')\n"
        "module = sys.modules.get('httpx')\n"
        "sys.exit((module is not None and hasattr(module, 'URL')) is not there)"
    )
    ended = subprocess.run([sys.executable, "-c", script], check=False)  # noqa: S603 - our own script
    assert ended.returncode == 0


async def test_a_missing_package_names_what_to_install() -> None:
    with pytest.raises(BackendError) as caught:
        await load("no_such_vendor", extra="local")
    assert str(caught.value) == (
        "The package 'no_such_vendor' is not installed. Install it: pip install 'massgen-mcp[local]'."
    )
    assert (caught.value.kind, caught.value.connected) == ("unavailable", False)


async def test_a_package_that_breaks_while_loading_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_vendor.py").write_text("import missing_part")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(BackendError, match=r"can't be loaded here \(No module named 'missing_part'\)"):
        await load("half_vendor")


async def test_an_import_gives_way_to_others_and_leaves_things_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_vendor.py").write_text("import gc, sys\nseen = gc.isenabled(), sys.getswitchinterval()")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = gc.isenabled(), sys.getswitchinterval()
    assert (await load("slow_vendor")).seen == (False, pytest.approx(0.0005))
    assert (gc.isenabled(), sys.getswitchinterval()) == before


async def test_who_is_cancelled_does_not_wait_for_an_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    program = (
        "import time\nfrom pathlib import Path\n"
        f"Path({str(begun)!r}).touch()\nwhile not Path({str(go)!r}).exists():\n    time.sleep(0.001)\nx = 1"
    )
    (tmp_path / "endless_vendor.py").write_text(program)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(load, "endless_vendor")
            while not await anyio.Path(begun).exists():  # noqa: ASYNC110 - another thread's sign
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
        await anyio.Path(go).touch()
        assert (await load("endless_vendor")).x == 1


def test_no_vendor_s_package_is_loaded_before_a_backend_is_opened() -> None:
    program = (
        "import sys, massgen_mcp.backends.chat, massgen_mcp.backends.retry, massgen_mcp.backends.open,"
        " massgen_mcp.backends.prices, massgen_mcp.backends.scripted\n"
        "print([name for name in ('openai', 'anthropic', 'google.genai', 'genai_prices', 'opentelemetry')"
        " if name in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


async def cost(
    kind: str, *, served: str = "", usage: Usage = USAGE, **block: object
) -> tuple[float | None, str]:
    return await Prices().cost(
        BACKENDS[kind], Options.model_validate({"type": kind, **block}), usage, served=served
    )


async def test_prices_come_from_the_file_the_row_or_the_table() -> None:
    assert await cost("groq", price={"input": 1, "output": 10}) == (2.0, "config")
    assert await cost("vllm", model="m") == (0.0, "free")
    assert await cost("chatcompletion", model="m") == (None, "unknown")
    assert await cost("groq", model="no-such-model") == (None, "unknown")
    known, source = await cost("openai", model="gpt-4o")
    assert source == "table"
    assert known is not None
    assert known > 0
    assert (await cost("openai", model="gpt-4o", served="brand-new-name")) == (known, "table")
    assert (await cost("openai", model="my-name", served="gpt-4o")) == (known, "table")


async def test_searches_that_the_provider_made_are_part_of_the_price() -> None:
    searched = Usage(requests=1, input=1000, output=100, searches=3)
    for kind, model in (("claude", "claude-sonnet-5-5"), ("openai", "gpt-5"), ("gemini", "gemini-3.8-flash")):
        plain, _ = await cost(kind, model=model, usage=Usage(requests=1, input=1000, output=100))
        whole, source = await cost(kind, model=model, usage=searched)
        assert (plain is not None and whole is not None and whole - plain >= 0.029, source) == (True, "table")
    price = {"input": 1, "output": 10}
    assert await cost("openai", model="gpt-5", price=price, usage=searched) == (
        pytest.approx(0.032),
        "config",
    )
    assert await cost("groq", model="who", price=price, usage=searched) == (pytest.approx(0.002), "config")


async def test_the_table_knows_how_much_a_model_takes_in() -> None:
    prices = Prices()
    assert await prices.context_window(BACKENDS["openai"], Options(type="openai", model="gpt-4o")) == 128_000
    assert await prices.context_window(BACKENDS["openai"], Options(type="openai", model="nobody")) is None
    assert await prices.context_window(BACKENDS["vllm"], Options(type="vllm", model="m")) is None


async def test_a_strange_usage_is_priced_as_far_as_it_makes_sense() -> None:
    odd = Usage(requests=1, input=100, output=5, cached=900, cache_write=50)
    assert (await cost("openai", model="gpt-4o", usage=odd))[1] == "table"


@pytest.mark.parametrize(
    "value", [None, True, "1.5", -1, float("nan"), float("inf"), 10**400, 10_000_000_000_001]
)
def test_what_cant_be_the_cost_of_a_request_is_not_taken_for_one(value: object) -> None:
    assert reported_cost(value, per_usd=10_000_000_000) is None


def test_a_providers_own_cost_stands_but_for_a_zero_where_the_file_has_a_price() -> None:
    price = Price(input=1, output=10)
    assert reported_cost(25, per_usd=100) == 0.25
    assert [reported_stands(cost, price) for cost in (None, 0.0, 0.5)] == [False, False, True]
    assert [reported_stands(cost, None) for cost in (None, 0.0, 0.5)] == [False, True, True]


def test_what_the_cache_gave_has_its_own_price() -> None:
    assert cost_at(Price(input=1, output=10, cached=0.5), USAGE) == pytest.approx(0.6 + 0.2 + 1.0)
    assert cost_at(Price(input=1, output=10), USAGE) == pytest.approx(2.0)
