from __future__ import annotations

import json
from typing import Any

import pytest

from massgen_mcp.backends.local_plan import plan_chat, plan_completion
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Brief, Message, Request, ToolResult

ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "action": {"type": "string", "enum": ["new_answer"]},
        "content": {"type": "string"},
        "conclusion": {"type": "string", "maxLength": 80},
    },
    "required": ["action", "content", "conclusion"],
}
VOTE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "action": {"type": "string", "enum": ["vote"]},
        "answer": {"type": "string", "enum": ["agent1.1", "agent3.1"]},
        "reason": {"type": "string", "maxLength": 20},
        "add": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
    },
    "required": ["action", "answer", "reason"],
}
ANSWERS = (
    ("agent1.1", "Lyon", "It is Lyon."),
    ("agent2.1", "Nice", "It is Nice."),
    ("agent3.1", "", "It is\nParis."),
)


def request(brief: Brief | None = None, schema: dict[str, Any] | None = None, *messages: Message) -> Request:
    return Request(messages=messages or (Message(role="user", text="Capital?"),), brief=brief, schema=schema)


def written(conclusion: str, content: str) -> str:
    return " " + json.dumps({"action": "new_answer", "conclusion": conclusion, "content": content})


def test_a_base_model_continues_worked_examples_in_the_answers_form() -> None:
    brief = Brief(kind="answer", question="What is\n  the capital\tof France?")

    plan = plan_completion(request(brief, ANSWER), short=False)

    assert plan.body["prompt"] == (
        "Question: What is the largest planet in the solar system?\n"
        'JSON: {"action":"new_answer","conclusion":"Jupiter",'
        '"content":"The largest planet in the solar system is Jupiter."}\n\n'
        "Question: How many legs does a spider have?\n"
        'JSON: {"action":"new_answer","conclusion":"8","content":"A spider has eight legs."}\n\n'
        "Question: What is the capital of France?\nJSON:"
    )
    assert plan.body["grammar"].startswith('root ::= " "? "{"')
    assert plan.body["n_predict"] > 200
    assert json.loads(plan.read(written("Paris", "It is Paris."))) == {
        "action": "new_answer",
        "content": "It is Paris.",
        "conclusion": "Paris",
    }


def test_a_question_can_not_write_control_tokens() -> None:
    brief = Brief(kind="answer", question="Is <eos> or <|im_end|> or </s> more than 3 <b and a < c?")

    prompt = plan_completion(request(brief, ANSWER), short=False).body["prompt"]

    assert "Is < eos> or < |im_end|> or < /s> more than 3 <b and a < c?" in prompt


def test_a_base_model_votes_by_answering_with_what_is_on_the_ballot() -> None:
    brief = Brief(kind="vote", question="Capital?", answers=ANSWERS)

    plan = plan_completion(request(brief, VOTE), short=False)

    assert '("\\"Lyon\\"" | "\\"It is Paris.\\"")' in plan.body["grammar"]
    assert "Nice" not in plan.body["grammar"]
    assert plan.read(written("It is Paris.", "The capital of France is Paris.")) == (
        '{"action":"vote","answer":"agent3.1","reason":"The capital of Franc"}'
    )
    with pytest.raises(KeyError):
        plan.read(written("Nice", "x"))


def test_equal_conclusions_stand_for_the_first_of_their_answers() -> None:
    answers = (("agent3.1", "Paris", "a"), ("agent1.1", "Paris", "b"))

    plan = plan_completion(request(Brief(kind="vote", question="?", answers=answers), VOTE), short=False)

    assert json.loads(plan.read(written("Paris", "x")))["answer"] == "agent3.1"


def test_of_two_forms_the_briefs_is_taken() -> None:
    schema = {"anyOf": [ANSWER, VOTE]}
    vote = plan_completion(request(Brief(kind="vote", question="?", answers=ANSWERS), schema), short=False)
    answer = plan_completion(request(Brief(kind="answer", question="?"), schema), short=False)

    assert json.loads(vote.read(written("Lyon", "x")))["action"] == "vote"
    assert json.loads(answer.read(written("Lyon", "x")))["action"] == "new_answer"


def test_a_base_model_presents_one_of_the_conclusions_it_was_shown() -> None:
    brief = Brief(kind="present", question="Capital?", answers=ANSWERS)

    plan = plan_completion(request(brief, ANSWER), short=False)

    assert '("\\"Lyon\\"" | "\\"Nice\\"" | "\\"It is Paris.\\"")' in plan.body["grammar"]
    assert json.loads(plan.read(written("Nice", "It is Nice.")))["conclusion"] == "Nice"


def test_without_schema_and_brief_a_base_model_answers_the_last_thing_said() -> None:
    said = (
        Message(role="user", text="First?"),
        Message(role="assistant", text="1"),
        Message(role="user", text="Next?"),
    )

    plan = plan_completion(request(None, None, *said), short=False)

    assert plan.body["prompt"].endswith("Question: Next?\nJSON:")
    assert plan.read(written("x", "Two.")) == "Two."


def test_a_shorter_try_has_half_the_room_and_as_many_tokens() -> None:
    brief = Brief(kind="answer", question="?")
    long, short = (plan_completion(request(brief, ANSWER), short=short) for short in (False, True))

    assert "char{1,160}" in long.body["grammar"]
    assert "char{1,80}" in short.body["grammar"]
    assert long.body["n_predict"] == short.body["n_predict"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]},
        VOTE,
        {**ANSWER, "required": ["action", "content", "conclusion", "sources"]},
    ],
)
def test_a_base_model_refuses_any_other_form(schema: dict[str, Any]) -> None:
    with pytest.raises(BackendError, match="can only hand in answers and votes") as caught:
        plan_completion(request(Brief(kind="answer", question="?"), schema), short=False)

    assert caught.value.kind == "bad_request"


def test_a_vote_needs_something_to_vote_on() -> None:
    with pytest.raises(BackendError, match="nothing to vote on"):
        plan_completion(request(Brief(kind="vote", question="?"), VOTE), short=False)


def test_a_label_outside_an_open_vote_schema_may_be_chosen_where_no_enum_forbids_it() -> None:
    schema = {**VOTE, "properties": {**VOTE["properties"], "answer": {"type": "string"}}}

    plan = plan_completion(request(Brief(kind="vote", question="?", answers=ANSWERS), schema), short=False)

    assert json.loads(plan.read(written("Nice", "x")))["answer"] == "agent2.1"


def test_a_conversation_is_told_in_turns_that_every_template_takes() -> None:
    said = (
        Message(role="system", text="Be brief."),
        Message(role="user", text="Question?"),
        Message(role="assistant", text="Draft."),
        Message(role="tool", results=(ToolResult(call_id="1", content="42"),)),
        Message(role="user", text="Vote."),
        Message(role="assistant"),
    )

    plan = plan_chat(request(None, None, *said), tokens=100, short=False)

    assert plan.body == {
        "n_predict": 100,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Question?"},
            {"role": "assistant", "content": "Draft."},
            {"role": "user", "content": "42\n\nVote."},
        ],
    }
    assert plan.read("as it is") == "as it is"
    assert plan.streams
    assert not plan.shortens


def test_a_chat_model_is_held_to_the_schema() -> None:
    plan = plan_chat(request(None, ANSWER), tokens=100, short=False)

    assert "char{0,300}" in plan.body["grammar"]
    assert plan.body["chat_template_kwargs"] == {"enable_thinking": False}
    assert plan.read('{"action":"new_answer"}') == '{"action":"new_answer"}'
    for wrong in ("", "null", "[]", '{"a":1', '{"a":1,"a":2}', "Paris"):
        with pytest.raises(ValueError, match=r"."):
            plan.read(wrong)


def test_a_chat_models_shorter_try_is_told_to_be_short() -> None:
    plan = plan_chat(request(None, ANSWER), tokens=100, short=True)

    assert "char{0,50}" in plan.body["grammar"]
    assert plan.body["messages"][-1]["content"] == "Capital?\n\nReply in at most 6 words."
