"""Services and clients."""

import threading

import pytest
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.exceptions import InvalidServiceNameException
from rclpy.executors import MultiThreadedExecutor
from std_srvs.srv import SetBool, Trigger


def test_a_call_to_another_process(server, node, call):
    response = call(node, SetBool, '/peer/flip', SetBool.Request(data=True))
    assert (response.success, response.message) == (False, 'was True')


def test_a_call_within_the_process(node, call):
    def answer(request, response):
        response.message = 'here'
        return response

    node.create_service(Trigger, '~/ask', answer)
    assert call(node, Trigger, '/tested/ask', Trigger.Request()).message == 'here'


def test_two_clients_get_their_own_answers(server, node, spin):
    clients = [node.create_client(SetBool, '/peer/flip') for _ in range(2)]
    assert all(client.wait_for_service(timeout_sec=20.0) for client in clients)
    futures = [
        client.call_async(SetBool.Request(data=bool(number % 2)))
        for number in range(4) for client in clients]
    assert spin(lambda: all(future.done() for future in futures), node)
    answers = [future.result().success for future in futures]
    assert answers == [not number % 2 for number in range(4) for _ in clients]


def test_a_service_that_is_not_there(node):
    client = node.create_client(SetBool, 'nowhere')
    assert not client.service_is_ready()
    assert not client.wait_for_service(timeout_sec=0.1)


def test_a_blocking_call_while_another_thread_spins(server, context, make_node):
    node = make_node()
    client = node.create_client(
        SetBool, '/peer/flip', callback_group=ReentrantCallbackGroup())
    assert client.wait_for_service(timeout_sec=20.0)
    executor = MultiThreadedExecutor(2, context=context)
    executor.add_node(node)
    spinner = threading.Thread(target=executor.spin)
    spinner.start()
    try:
        assert client.call(SetBool.Request(data=False)).success is True
    finally:
        executor.shutdown()
        spinner.join()


def test_a_request_of_another_type_is_refused(node):
    client = node.create_client(SetBool, 'nowhere')
    with pytest.raises(TypeError):
        client.call_async(Trigger.Request())


def test_a_bad_service_name_is_refused(node):
    with pytest.raises(InvalidServiceNameException):
        node.create_service(Trigger, 'no way', lambda request, response: response)


def test_service_names_are_remapped(make_node):
    node = make_node(namespace='/ns', cli_args=['--ros-args', '-r', 'ask:=tell'])
    service = node.create_service(Trigger, 'ask', lambda request, response: response)
    assert node.resolve_service_name('ask') == '/ns/tell'
    assert service.srv_name == 'ask' or service.service_name == '/ns/tell'


def test_a_coroutine_serves(node, call):
    async def answer(request, response):
        response.success = True
        return response

    node.create_service(Trigger, 'ask', answer)
    assert call(node, Trigger, 'ask', Trigger.Request()).success


def test_a_coroutine_awaits_a_call(server, node, spin):
    heard = []
    client = node.create_client(SetBool, '/peer/flip')
    assert client.wait_for_service(timeout_sec=20.0)

    async def ask():
        timer.cancel()
        heard.append(await client.call_async(SetBool.Request(data=True)))

    timer = node.create_timer(0.01, ask, callback_group=ReentrantCallbackGroup())
    assert spin(lambda: heard, node)
    assert heard[0].message == 'was True'


def test_a_destroyed_service_is_gone(node, spin):
    service = node.create_service(Trigger, 'ask', lambda request, response: response)
    client = node.create_client(Trigger, 'ask')
    assert client.wait_for_service(timeout_sec=20.0)
    assert node.destroy_service(service)
    assert spin(lambda: not client.service_is_ready(), node)
