import os
import httpx
from stuut.api.default import get_v1_calls_by_call_id as get
from stuut.client import AuthenticatedClient

base, call = os.environ["CALL"].split("/v1/calls/")
client = AuthenticatedClient(base_url=base, token=os.environ["TOKEN"])
get.sync(call, client=client)
print(get.sync_detailed(call, client=client).headers["cache-status"])
view = get.sync(call, client=client, fields="id,status")
print(view.to_dict())
error = get.sync_detailed(call, client=client, fields="(")
print(error.parsed.to_dict(), error.status_code.value)
# An error of the API itself, which is no problem document.
slow = httpx.MockTransport(lambda _: httpx.Response(429, json={"error": "slow down"}))
client.set_httpx_client(httpx.Client(base_url=base, transport=slow))
assert get.sync(call, client=client).to_dict() == {"error": "slow down"}
