"""A key in the address works where a route reads it, and is nowhere to be found afterwards."""

from __future__ import annotations

import threading
from pathlib import Path

import requests
import websockets.sync.client
from websockets.sync.server import ServerConnection, serve

from tests.e2e.conftest import Customer, Gateway, eventually
from tests.ports import free_port

POLICIES = """
upstreams:
  httpbin: {{targets: [http://127.0.0.1:{httpbin}]}}
  echo: {{targets: [http://127.0.0.1:{echo}]}}
  gone: {{targets: [http://127.0.0.1:{gone}]}}
  slow: {{targets: [http://127.0.0.1:{httpbin}], timeouts: {{response: 300ms}}}}
tiers:
  paid: {{}}
  once: {{quotas: [{{meter: api_calls, amount: 1, per: month}}]}}
routes:
  - {{name: echo, match: {{path: /echo}}, upstream: echo, access: {{query_key: api_key}}}}
  - {{name: gone, match: {{path: /gone}}, upstream: gone, access: {{query_key: api_key}}}}
  - {{name: slow, match: {{path: /delay/*}}, upstream: slow, access: {{query_key: api_key}}}}
  - {{name: header, match: {{path: /anything/header}}, upstream: httpbin}}
  - {{name: query, match: {{path: /anything/**}}, upstream: httpbin, access: {{query_key: api_key}}}}
"""


def files(folder: Path) -> list[Path]:
    """Everything that a gateway has written, its databases included."""
    return [path for path in folder.rglob("*") if path.is_file()]


def holds(path: Path, secret: bytes) -> bool:
    return secret in path.read_bytes()


def ask(customer: Customer, path: str) -> requests.Response:
    address = customer.gateway.url(path.replace("KEY", customer.secret))
    return requests.get(address, headers={"Referer": address}, timeout=30)


def test_a_key_in_the_address_works_and_leaves_no_trace(httpbin: int, tmp_path: Path) -> None:
    answers: list[str] = []

    def echo(connection: ServerConnection) -> None:
        assert connection.request is not None
        connection.send(f"{connection.request.path} {connection.request.headers.get('Tollway-Account')}")

    with serve(echo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        gateway = Gateway(tmp_path, httpbin)
        ports = {"httpbin": httpbin, "echo": server.socket.getsockname()[1], "gone": free_port()}
        gateway.write_policies(POLICIES.format(**ports))
        try:
            gateway.start()
            paid, once = gateway.customer("paid"), gateway.customer("once")
            seen = ask(paid, "/anything/a?b=1&api_key=KEY&c").json()
            assert seen["url"].endswith("/anything/a?b=1&c")
            assert seen["headers"]["Tollway-Account"] == paid.account
            assert paid.secret not in str(seen)
            for path, status in [
                ("/anything/a?api_key=KEY&api_key=KEY", 400),
                ("/anything/%2f?api_key=KEY", 400),
                ("/anything/header?api_key=KEY", 401),
                ("/anything/a?api_key=KEY-", 401),
                ("/nowhere?api_key=KEY", 404),
                ("/gone?api_key=KEY", 502),
                ("/delay/5?api_key=KEY", 504),
            ]:
                answer = ask(paid, path)
                assert answer.status_code == status, path
                answers.append(answer.text + str(answer.headers))
            assert [ask(once, "/anything/a?api_key=KEY").status_code for _ in range(2)] == [200, 429]
            with websockets.sync.client.connect(
                f"ws://127.0.0.1:{gateway.listen}/echo?a=1&api_key={paid.secret}"
            ) as socket:
                assert socket.recv() == f"/echo?a=1 {paid.account}"
            eventually(lambda: len(gateway.events(paid.account)) >= 4, "what passed is booked")
            answers.append(requests.get(gateway.control_url("/metrics"), timeout=5).text)
            answers.append(str(gateway.events(paid.account)))
        finally:
            if gateway.process is not None and gateway.process.poll() is None:
                assert gateway.stop() == 0, gateway.log
            gateway.kill()
            server.shutdown()
            thread.join()
    for secret in (paid.secret, once.secret):
        assert not any(secret in answer for answer in answers)
        assert [path.name for path in files(tmp_path) if holds(path, secret.encode())] == []
    assert paid.secret not in gateway.log
    assert '"traceback"' not in gateway.log
