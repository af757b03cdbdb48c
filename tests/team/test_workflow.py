"""How a reply is read for an answer or a vote."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import pytest

from massgen_mcp.backends.info import Workflow
from massgen_mcp.messages import Reply, ToolCall
from massgen_mcp.team.prompts import (
    ShownAnswer,
    answer_system,
    present_text,
    question_text,
    reminder_text,
    synthesis_text,
    vote_text,
)
from massgen_mcp.team.workflow import (
    CONTENT_LIMIT,
    WORKFLOW_TOOLS,
    Cast,
    Decision,
    Plain,
    Slip,
    Submit,
    UseTools,
    Wanted,
    constrained_schema,
    fit_answer,
    read_reply,
)

ANSWER = Wanted(answer=True)
VOTE = Wanted(answer=False, labels=("agent1.1", "agent3.1"), others=("agent2.1",))
EITHER = Wanted(answer=True, labels=("agent1.1", "agent3.1"), others=("agent2.1",))


def call(name: str, arguments: object, call_id: str = "c1") -> ToolCall:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(id=call_id, name=name, arguments=text)


def read(*calls: ToolCall, wanted: Wanted, text: str = "", workflow: Workflow = "tools") -> Decision:
    return read_reply(Reply(text=text, calls=calls), workflow=workflow, wanted=wanted)


def slip_of(decision: Decision) -> Slip:
    assert isinstance(decision, Slip)
    return decision


def test_an_answer_is_its_content_and_conclusion():
    decision = read(call("new_answer", {"content": " It is 4. ", "conclusion": "4"}), wanted=ANSWER)
    assert isinstance(decision, Submit)
    assert (decision.content, decision.conclusion) == ("It is 4.", "4")


def test_a_conclusion_that_is_a_number_is_taken_as_text():
    decision = read(call("new_answer", {"content": "It is 4.", "conclusion": 4}), wanted=ANSWER)
    assert isinstance(decision, Submit)
    assert decision.conclusion == "4"


def test_an_answer_that_had_to_be_cut_says_so_at_its_end():
    decision = read(call("new_answer", {"content": "x" * 200_000, "conclusion": "y" * 600}), wanted=ANSWER)
    assert isinstance(decision, Submit)
    assert len(decision.content) == CONTENT_LIMIT
    assert decision.content.endswith("x…\n\n[Cut here: only 100,000 characters of an answer are kept.]")
    assert decision.conclusion == "y" * 499 + "…"
    assert fit_answer(" " + "x" * CONTENT_LIMIT) == "x" * CONTENT_LIMIT


def test_a_reason_is_kept_up_to_2000_characters():
    decision = read(call("vote", {"answer": "agent1.1", "reason": "r" * 3_000}), wanted=VOTE)
    assert isinstance(decision, Cast)
    assert decision.reason == "r" * 1_999 + "…"


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "{",
        '{"content": "a", "content": "b"}',
        "[1]",
        '{"content": NaN}',
        '{"content": ""}',
        "[" * 100_000,
    ],
    ids=["empty", "cut", "twice", "list", "nan", "no content", "deep"],
)
def test_arguments_that_are_not_whole_are_a_slip_and_never_repaired(arguments: str):
    slip = slip_of(read(call("new_answer", arguments), wanted=ANSWER))
    assert set(slip.errors) == {"c1"}
    assert not slip.vote


def test_a_vote_names_a_valid_label_in_any_dress():
    decision = read(
        call(
            "vote",
            {"answer": " <Agent1.1> ", "reason": "right", "add": ["agent2.1", "agent9.9", "agent1.1", 3]},
        ),
        wanted=VOTE,
    )
    assert decision == Cast(
        label="agent1.1",
        reason="right",
        add=("agent2.1",),
        call=decision.call if isinstance(decision, Cast) else None,
    )


@pytest.mark.parametrize(
    "value",
    [
        "**agent1.1**",
        "_agent1.1_",
        "agent1.1.",
        "(agent1.1)",
        "The answer agent1.1",
        "vote for agent1.1",
        '"Agent1.1"',
        "agent1.1, yes, agent1.1",
    ],
)
def test_a_short_phrase_that_names_one_label_is_a_vote_for_it(value: str):
    decision = read(call("vote", {"answer": value, "reason": ""}), wanted=VOTE)
    assert isinstance(decision, Cast)
    assert decision.label == "agent1.1"


@pytest.mark.parametrize(
    "label",
    [
        "agent9.1",
        "agent2.1",
        "",
        None,
        7,
        "agent1.1 or agent3.1",
        "agent1.1, not agent9.9",
        "agent1.10",
        "agent1.1.2",
        "myagent1.1",
        "Of all of these I like the most agent1.1.",
        "x" * 1_000_000,
    ],
)
def test_a_vote_for_anything_else_is_told_the_valid_labels(label: object):
    slip = slip_of(read(call("vote", {"answer": label, "reason": ""}), wanted=VOTE))
    assert slip.vote
    assert "Valid labels: agent1.1, agent3.1." in slip.errors["c1"]
    assert len(slip.errors["c1"]) < 300


def test_one_s_own_answer_is_called_by_its_name_when_it_is_excluded():
    slip = slip_of(read(call("vote", {"answer": "agent2.1", "reason": ""}), wanted=VOTE))
    assert "your own" in slip.why


def test_of_both_tools_the_answer_counts_where_answers_are_open():
    answer = call("new_answer", {"content": "better", "conclusion": "b"}, "a")
    vote = call("vote", {"answer": "agent1.1", "reason": ""}, "v")
    assert isinstance(read(vote, answer, wanted=EITHER), Submit)
    assert isinstance(read(answer, vote, wanted=VOTE), Cast)


def test_a_second_call_that_can_be_taken_makes_up_for_the_first():
    bad = call("vote", {"answer": "agent9.9", "reason": ""}, "bad")
    good = call("vote", {"answer": "agent3.1", "reason": "yes"}, "good")
    assert isinstance(read(bad, good, wanted=VOTE), Cast)


def test_an_answer_where_none_is_allowed_is_asked_to_vote():
    slip = slip_of(read(call("new_answer", {"content": "x", "conclusion": "x"}), wanted=VOTE))
    assert slip.vote
    assert "Call vote with one of: agent1.1, agent3.1." in slip.why


def test_a_vote_before_there_are_answers_is_asked_to_answer():
    slip = slip_of(read(call("vote", {"answer": "agent1.1", "reason": ""}), wanted=ANSWER))
    assert "Call new_answer" in slip.why


def test_text_alone_is_plain_and_prose_about_a_vote_is_no_vote():
    assert read(wanted=VOTE, text="vote for agent1.1") == Plain(text="vote for agent1.1")


def test_other_tools_are_used_first():
    other = call("files__read", {"path": "a"})
    assert read(other, wanted=ANSWER) == UseTools(calls=(other,))


def test_a_constrained_object_is_read_by_the_same_rules():
    text = json.dumps({"action": "vote", "answer": "agent3.1", "reason": "r"})
    decision = read(wanted=VOTE, text=text, workflow="json_schema")
    assert isinstance(decision, Cast)
    assert decision.label == "agent3.1"


def test_an_object_without_an_action_is_known_by_its_keys():
    assert isinstance(read(wanted=EITHER, text='{"answer": "agent1.1"}', workflow="json_schema"), Cast)
    assert isinstance(read(wanted=EITHER, text='{"content": "x"}', workflow="json_schema"), Submit)


def test_the_last_fenced_block_of_a_text_counts():
    first, last = '{"action": "vote", "answer": "agent1.1"}', '{"answer": "agent3.1"}'
    text = f"First\n```json\n{first}\n```\nno:\n```json\n{last}\n```"
    decision = read(wanted=VOTE, text=text, workflow="text")
    assert isinstance(decision, Cast)
    assert decision.label == "agent3.1"


@pytest.mark.parametrize("text", ["just words", "```json\n{broken\n```", "```json\n[1]\n```"])
def test_without_a_readable_block_a_text_is_plain(text: str):
    assert read(wanted=VOTE, text=text, workflow="text") == Plain(text=text)


def test_tools_of_an_agent_without_functions_still_run():
    other = call("files__read", {})
    decision = read_reply(Reply(text="", calls=(other,)), workflow="json_schema", wanted=ANSWER)
    assert decision == UseTools(calls=(other,))


@pytest.mark.parametrize(
    ("wanted", "valid", "invalid"),
    [
        (ANSWER, {"action": "new_answer", "content": "a", "conclusion": "b"}, {"action": "vote"}),
        (
            VOTE,
            {"action": "vote", "answer": "agent1.1", "reason": ""},
            {"action": "vote", "answer": "agent2.1"},
        ),
        (EITHER, {"action": "new_answer", "content": "a", "conclusion": "b"}, {"action": "neither"}),
    ],
)
def test_the_constrained_schema_allows_what_is_wanted_and_nothing_else(
    wanted: Wanted, valid: object, invalid: object
):
    schema = constrained_schema(wanted)
    jsonschema.validate(valid, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(invalid, schema)


TAG = "0123456789abcdef0123"


def fixed_text() -> dict[str, int]:
    """Bytes of our own words per kind of request: without question, answers, labels and the config's text."""
    tools = sum(
        len(json.dumps({"name": tool.name, "description": tool.description, "parameters": tool.parameters}))
        for tool in WORKFLOW_TOOLS
    )
    blank = [ShownAnswer(label="", content="", own=own) for own in (True, False, False)]
    opening = len(answer_system("", "tools")) + len(question_text("", "x", TAG)) + tools
    return {
        "answer": opening,
        "vote": opening + len(vote_text(blank, ["", ""], TAG, may_answer=True)),
        "remind": opening
        + len(vote_text(blank, ["", ""], TAG, may_answer=True))
        + len(reminder_text(["", ""], may_answer=True)),
        "synthesize": opening
        + max(len(synthesis_text(blank[:2], TAG, split=split)) for split in (True, False)),
        "present": opening
        + len(vote_text(blank, ["", ""], TAG, may_answer=False))
        + len(present_text([], ["", ""], "", [""], TAG)),
    }


def test_our_own_fixed_text_stays_under_2_kb_per_request():
    sizes = fixed_text()
    assert {kind: size for kind, size in sizes.items() if size >= 2_000} == {}


def test_an_answer_that_is_hardly_new_is_sent_back_with_the_answer_it_is_like():
    wanted = replace(EITHER, taken=(("agent1.1", "Use a queue, then drain it."),), novelty=0.7)
    said = {"content": "Use a queue and then drain it.", "conclusion": "a queue"}
    slip = slip_of(read(call("new_answer", said), wanted=wanted))
    assert slip.vote
    assert "86% of its words are those of agent1.1; more than 70% is not a new answer" in slip.why


@pytest.mark.parametrize("content", [" Use a queue.", "Take two stacks instead"])
def test_the_very_text_of_an_answer_is_agreement_and_other_words_are_new(content: str):
    wanted = replace(EITHER, taken=(("agent1.1", "Use a queue."),), novelty=0.5)
    assert isinstance(read(call("new_answer", {"content": content}), wanted=wanted), Submit)
