"""Rotation functions on moto's server, which by itself answers each invocation without running anything.

A function that a test has created runs as AWS runs it: after RotateSecret has returned, one step after the other. What
moto leaves out is added: a secret keeps its function, a version without AWSCURRENT is not current, and a second
rotation is refused while one is in progress.
"""

import functools
import io
import json
import os
import queue
import threading
import traceback
import zipfile

from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.core.models import default_user_config
from moto.secretsmanager.exceptions import InvalidRequestException
from moto.secretsmanager.models import FakeSecret, SecretsManagerBackend

_invocations: queue.Queue = queue.Queue()
_held = threading.local()
"""`invocations` of the request that this thread handles: a function begins when its request has returned."""


def install(port):
    """Run rotation functions in this process, against the server on this port."""
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}", AWS_ACCESS_KEY_ID="function", AWS_SECRET_ACCESS_KEY="function"
    )
    default_user_config["lambda"] = {"use_docker": False}
    LambdaSimpleBackend.invoke = _invoke
    SecretsManagerBackend.rotate_secret = _as_aws_rotates(SecretsManagerBackend.rotate_secret)
    SecretsManagerBackend.update_secret_version_stage = _as_aws_moves(SecretsManagerBackend.update_secret_version_stage)
    FakeSecret.set_default_version_id = _unless_pending(FakeSecret.set_default_version_id)
    threading.Thread(target=_run, daemon=True).start()


def _invoke(self, function_name, qualifier, body, headers, response_headers):
    function = self.get_function(function_name)
    _held.invocations.append((function.code_bytes, self.region_name, json.loads(body)))
    return b""


def _run():
    while True:
        code, region, event = _invocations.get()
        os.environ["AWS_DEFAULT_REGION"] = region
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            source = archive.read("function.py")
        names = {}
        exec(compile(source, "function.py", "exec"), names)  # the test's own code
        try:
            names["handler"](event, None)
        except Exception:  # noqa: BLE001  # another test's function still runs
            traceback.print_exc()


def _as_aws_rotates(rotate_secret):
    @functools.wraps(rotate_secret)
    def rotated(self, secret_id, client_request_token=None, rotation_lambda_arn=None, **options):
        if self._is_valid_identifier(secret_id):
            secret = self.secrets[secret_id]
            stages = secret._form_version_ids_to_stages().values()  # inside the service's double
            if any("AWSPENDING" in found and "AWSCURRENT" not in found for found in stages):
                raise InvalidRequestException("Previous rotation request is still in progress.")
            rotation_lambda_arn = rotation_lambda_arn or secret.rotation_lambda_arn
        _held.invocations = []
        answer = rotate_secret(self, secret_id, client_request_token, rotation_lambda_arn, **options)
        for invocation in _held.invocations:
            _invocations.put(invocation)
        return answer

    return rotated


def _unless_pending(set_default_version_id):
    @functools.wraps(set_default_version_id)
    def changed(self, version_id):
        if "AWSPENDING" not in self.versions.get(version_id, {}).get("version_stages", ()):
            set_default_version_id(self, version_id)

    return changed


def _as_aws_moves(update_secret_version_stage):
    @functools.wraps(update_secret_version_stage)
    def moved(self, secret_id, version_stage, remove_from_version_id, move_to_version_id):
        answer = update_secret_version_stage(self, secret_id, version_stage, remove_from_version_id, move_to_version_id)
        if version_stage == "AWSCURRENT":
            self.secrets[secret_id].default_version_id = move_to_version_id
        return answer

    return moved
