"""moto as a server, made to refuse what AWS refuses and moto lets pass: `python server.py PORT`."""

import functools
import sys
import threading

import botocore.session
import rotation_functions
from moto import backends, server
from moto.core import responses
from moto.secretsmanager.exceptions import InvalidRequestException
from moto.secretsmanager.models import SecretsManagerBackend


def refuse_while_scheduled(operation):
    """Of a secret that is scheduled for deletion, AWS changes neither the value nor the tags."""

    @functools.wraps(operation)
    def checked(self, secret_id, *arguments, **options):
        if self._is_valid_identifier(secret_id) and self.secrets[secret_id].is_deleted():
            raise InvalidRequestException("it was marked for deletion")
        return operation(self, secret_id, *arguments, **options)

    return checked


def one_at_a_time(application):
    """Serve one request at a time: moto walks its tables without a lock.

    Its DescribeParameters fails with HTTP 500 ("dictionary changed size during iteration") while another thread puts a
    parameter: 30 of 320 calls beside eight writers.
    """
    lock = threading.Lock()

    @functools.wraps(application)
    def serialized(self, *arguments, **options):
        with lock:
            return application(self, *arguments, **options)

    return serialized


SecretsManagerBackend.put_secret_value = refuse_while_scheduled(SecretsManagerBackend.put_secret_value)

# At each request, moto lists its own folder and inspects a class: half of the time of a request.
MODULES = frozenset(backends.list_of_moto_modules())
backends.list_of_moto_modules = lambda: MODULES
responses.method_names_from_class = functools.cache(responses.method_names_from_class)

# At its start, moto opens many sessions of botocore, and each would read the descriptions of AWS's services anew.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)

server.DomainDispatcherApplication.__call__ = one_at_a_time(server.DomainDispatcherApplication.__call__)

if __name__ == "__main__":
    rotation_functions.install(sys.argv[1])
    server.main(["-H", "127.0.0.1", "-p", sys.argv[1]])
