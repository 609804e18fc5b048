"""The fake of Secret Manager is one to Google's own SDK, so that a test on it means something."""

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.secretmanager_v1 import SecretManagerServiceClient
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import SecretManagerServiceRestTransport

pytestmark = pytest.mark.long

SECRET = "projects/demo/secrets/app"


@pytest.fixture
def sdk(google):
    """Google's own client, which checks each field of a reply."""
    host, credentials = google.url.removeprefix("http://"), AnonymousCredentials()
    transport = SecretManagerServiceRestTransport(host=host, url_scheme="http", credentials=credentials)
    with SecretManagerServiceClient(transport=transport) as client:
        yield client


def test_sdk_and_store_read_each_other(sdk, store):
    """Each reads the other's writes: labels, versions, their states and a checksum."""
    store.write("app", {"k": "1"})
    store.write_metadata("app", {"owner": "billing"})
    sdk.add_secret_version(parent=SECRET, payload={"data": b'{"k":"2"}'})
    assert dict(sdk.get_secret(name=SECRET).labels) == {"owner": "billing"}
    assert sdk.access_secret_version(name=f"{SECRET}/versions/1").payload.data == b'{"k":"1"}'
    assert store.read("app").data == {"k": "2"}
    sdk.disable_secret_version(name=f"{SECRET}/versions/2")
    store.destroy("app", 1)
    listed = [(version.state.name, version.create_time) for version in sdk.list_secret_versions(parent=SECRET)]
    assert [state for state, _ in listed] == ["DISABLED", "DESTROYED"]
    assert [info.created for info in store.versions("app")] == [created for _, created in reversed(listed)]
    sdk.delete_secret(name=SECRET)
    with pytest.raises(exceptions.NotFound):
        sdk.get_secret(name=SECRET)
