"""Tests of a service that uses the Stuut API, against `stuut-cache simulate`: pytest deploy/mocking"""

import json
import os
import pathlib
import subprocess

import httpx
import pytest

FIXTURES = pathlib.Path(__file__).with_name("fixtures")


class Service:
    """The service under test. Only its base URL differs between this API and the real one."""

    def __init__(self, stuut: str, token: str):
        headers = {"Authorization": f"Bearer {token}"}
        self.client = httpx.Client(base_url=stuut, headers=headers)

    def headline(self, call: str) -> str:
        response = self.client.get(f"/v1/calls/{call}")
        match response.status_code:
            case 200:
                return f"{call}: {response.json()['status']}"
            case 404:
                return f"{call}: unknown"
            case 401:
                raise PermissionError("log in again")
            case status:
                raise ConnectionError(f"Stuut has answered {status}")


@pytest.fixture(scope="session")
def stuut():
    """The URL of the simulated API: a container's, or that of a process on a free port."""
    if url := os.environ.get("STUUT_URL"):
        yield url
        return
    command = ["stuut-cache", "simulate", "--listen=127.0.0.1:0", "--latency=0s", f"--fixtures={FIXTURES}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
        yield json.loads(simulator.stdout.readline())["listening"]
        simulator.terminate()


def test_a_call_has_a_headline(stuut):
    service = Service(stuut, "demo-acme-1")
    assert service.headline("call_busy_acme_0001") == "call_busy_acme_0001: busy"


def test_a_call_of_another_organisation_is_unknown(stuut):
    service = Service(stuut, "demo-globex-1")
    assert service.headline("call_busy_acme_0001") == "call_busy_acme_0001: unknown"


def test_a_revoked_token_needs_a_login(stuut):
    service = Service(stuut, "demo-acme-1~revoked")
    assert service.headline("call_acme_0001") == "call_acme_0001: completed"
    assert service.client.delete("/v1/token").status_code == 204
    with pytest.raises(PermissionError):
        service.headline("call_acme_0001")


def test_a_fixture_is_served_to_its_organisation_only(stuut):
    assert Service(stuut, "demo-acme-2").headline("call_escalated") == "call_escalated: completed"
    assert Service(stuut, "demo-globex-1").headline("call_escalated") == "call_escalated: unknown"


def test_an_overloaded_origin_is_an_error(stuut):
    with pytest.raises(ConnectionError, match="503"):
        Service(stuut, "demo-acme-1").headline("call_overloaded")
