"""The SDKs of OpenAI and Anthropic, and LangChain, with a placeholder as their key, on a fake of both APIs."""

import asyncio
import json
import ssl

import anthropic
import httpx2
import openai
import pytest
from langchain_openai import ChatOpenAI

from strongroom.agents import async_httpx2_transport, httpx2_transport, open_session
from support.scenarios.agent_rules import VALUE, manager_with_rule
from support.services.fake_api import Handler, fake_api

WORDS = ["Hello", " from", " the fake"]
TEXT = "".join(WORDS)
MESSAGES = [{"role": "user", "content": "Hello"}]


class Models(Handler):
    """Answers as both APIs, and says which key it got where an SDK shows it."""

    def answer_v1_chat_completions(self, body, query):
        if self.headers.get("Authorization") != f"Bearer {VALUE}":
            return self.refuse({"error": {"message": f"Incorrect key: {self.headers.get('Authorization')}"}})
        request = json.loads(body)
        about = {"id": f"chat-{VALUE}", "created": 1, "model": "fake"}
        if not request.get("stream"):
            message = {"role": "assistant", "content": TEXT}
            choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
            usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
            return self.json({**about, "object": "chat.completion", "choices": [choice], "usage": usage})
        chunks = [{"delta": {"role": "assistant", "content": word}, "finish_reason": None} for word in WORDS]
        chunks.append({"delta": {}, "finish_reason": "stop"})
        return self.events(
            *({**about, "object": "chat.completion.chunk", "choices": [{"index": 0, **chunk}]} for chunk in chunks),
            "[DONE]",
        )

    def answer_v1_messages(self, body, query):
        if self.headers.get("Authorization") != f"Bearer {VALUE}" and self.headers.get("X-Api-Key") != VALUE:
            return self.refuse({"type": "error", "error": {"type": "authentication_error", "message": "invalid"}})
        message = {
            "id": f"msg-{VALUE}", "type": "message", "role": "assistant", "model": "fake", "stop_reason": "end_turn",
            "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 3},
            "content": [{"type": "text", "text": TEXT}],
        }  # fmt: skip
        if not json.loads(body).get("stream"):
            return self.json(message)
        deltas = [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS
        ]
        return self.events(
            {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *deltas,
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
             "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        )  # fmt: skip

    def refuse(self, document):
        self.json(document, 401)

    def json(self, document, status=200):
        self.answer(json.dumps(document).encode(), status, Content_Type="application/json")

    def events(self, *documents):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for document in documents:
            name = f"event: {document['type']}\n" if "type" in document else ""
            data = document if isinstance(document, str) else json.dumps(document)
            self.chunk(f"{name}data: {data}\n\n".encode())
        self.chunk(b"")


@pytest.fixture
def api(context):
    with fake_api(context, Models) as server:
        yield server


@pytest.fixture
def session(api):
    with manager_with_rule(api.host, methods=["POST"], paths=["/v1/*"]) as secrets:
        yield open_session(secrets)


@pytest.fixture
def client(session, trust):
    """The HTTP client of an SDK."""
    inner = httpx2.HTTPTransport(verify=ssl.create_default_context(cafile=trust))
    with httpx2.Client(transport=httpx2_transport(session, inner)) as client:
        yield client


def make_async_client(session, trust):
    inner = httpx2.AsyncHTTPTransport(verify=ssl.create_default_context(cafile=trust))
    return httpx2.AsyncClient(transport=async_httpx2_transport(session, inner))


def settings(api, session, client, **options):
    return {"base_url": api.url, "api_key": session.placeholder("openai"), "http_client": client, "max_retries": 0}


def test_openai(api, session, client):
    sdk = openai.OpenAI(**settings(api, session, client) | {"base_url": f"{api.url}/v1"})
    answer = sdk.chat.completions.create(model="fake", messages=MESSAGES)
    assert answer.choices[0].message.content == TEXT
    assert answer.id == f"chat-{session.placeholder('openai')}"
    chunks = list(sdk.chat.completions.create(model="fake", messages=MESSAGES, stream=True))
    assert [chunk.choices[0].delta.content for chunk in chunks] == [*WORDS, None]
    assert {chunk.id for chunk in chunks} == {answer.id}


def test_openai_asynchronously(api, session, trust):
    async def run():
        async with make_async_client(session, trust) as client:
            sdk = openai.AsyncOpenAI(**settings(api, session, client) | {"base_url": f"{api.url}/v1"})
            answer = await sdk.chat.completions.create(model="fake", messages=MESSAGES)
            stream = await sdk.chat.completions.create(model="fake", messages=MESSAGES, stream=True)
            return answer, [chunk async for chunk in stream]

    answer, chunks = asyncio.run(run())
    assert answer.choices[0].message.content == TEXT
    assert [chunk.choices[0].delta.content for chunk in chunks] == [*WORDS, None]
    assert {chunk.id for chunk in chunks} == {answer.id} == {f"chat-{session.placeholder('openai')}"}


def test_a_refusal_is_an_error_of_the_sdk_with_the_reason(api, session, client):
    sdk = openai.OpenAI(**settings(api, session, client))
    with pytest.raises(openai.PermissionDeniedError) as caught:
        sdk.models.list()
    assert caught.value.body == "The rule openai allows POST, not GET"
    assert caught.value.request.headers["Authorization"] == f"Bearer {session.placeholder('openai')}"
    assert api.requests == []


def test_anthropic(api, session, client):
    sdk = anthropic.Anthropic(**settings(api, session, client))
    answer = sdk.messages.create(model="fake", max_tokens=10, messages=MESSAGES)
    assert answer.content[0].text == TEXT
    assert answer.id == f"msg-{session.placeholder('openai')}"
    with sdk.messages.stream(model="fake", max_tokens=10, messages=MESSAGES) as stream:
        assert list(stream.text_stream) == WORDS
        assert stream.get_final_message().id == answer.id


def test_anthropic_asynchronously(api, session, trust):
    async def run():
        async with make_async_client(session, trust) as client:
            sdk = anthropic.AsyncAnthropic(**settings(api, session, client))
            answer = await sdk.messages.create(model="fake", max_tokens=10, messages=MESSAGES)
            async with sdk.messages.stream(model="fake", max_tokens=10, messages=MESSAGES) as stream:
                return answer, [text async for text in stream.text_stream]

    answer, words = asyncio.run(run())
    assert (answer.content[0].text, words) == (TEXT, WORDS)
    assert answer.id == f"msg-{session.placeholder('openai')}"


def test_langchain(api, session, client, trust):
    async def run():
        async with make_async_client(session, trust) as own:
            model = ChatOpenAI(model="fake", http_async_client=own, **options)
            return (await model.ainvoke("Hello")).content, [part.content async for part in model.astream("Hello")]

    placeholder = session.placeholder("openai")
    options = {"base_url": f"{api.url}/v1", "api_key": placeholder, "max_retries": 0, "http_client": client}
    model = ChatOpenAI(model="fake", **options)
    answer = model.invoke("Hello")
    assert (answer.content, answer.response_metadata["id"]) == (TEXT, f"chat-{placeholder}")
    assert [part.content for part in model.stream("Hello") if part.content] == WORDS
    content, parts = asyncio.run(run())
    assert (content, [part for part in parts if part]) == (TEXT, WORDS)
    assert VALUE in api.wire
