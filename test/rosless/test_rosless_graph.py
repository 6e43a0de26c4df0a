"""The graph: who is there, on what, with which quality of service."""

import pytest
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.topic_endpoint_info import TopicEndpointTypeEnum
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger


@pytest.fixture
def seen(server, node, spin):
    """Return a node that has discovered the server."""
    assert spin(lambda: ('server', '/peer') in node.get_node_names_and_namespaces(), node)
    assert spin(lambda: node.count_services('/peer/server/set_parameters') == 1, node)
    return node


def test_nodes(seen):
    assert {'server', 'tested'} <= set(seen.get_node_names())
    assert ('server', '/peer') in seen.get_node_names_and_namespaces()
    assert ('server', '/peer', '/') in seen.get_node_names_and_namespaces_with_enclaves()


def test_topics_and_types(seen):
    topics = dict(seen.get_topic_names_and_types())
    assert topics['/peer/state'] == ['std_msgs/msg/String']
    assert topics['/peer/image'] == ['sensor_msgs/msg/Image']
    assert topics['/parameter_events'] == ['rcl_interfaces/msg/ParameterEvent']


def test_services_and_types(seen):
    services = dict(seen.get_service_names_and_types())
    assert services['/peer/flip'] == ['std_srvs/srv/SetBool']
    assert services['/peer/server/get_parameters'] == ['rcl_interfaces/srv/GetParameters']


def test_what_a_node_has(seen):
    publishers = dict(seen.get_publisher_names_and_types_by_node('server', '/peer'))
    assert {'/peer/state', '/peer/echo', '/rosout', '/parameter_events'} <= set(publishers)
    subscriptions = dict(seen.get_subscriber_names_and_types_by_node('server', '/peer'))
    assert {'/peer/say', '/peer/photograph'} <= set(subscriptions)
    services = dict(seen.get_service_names_and_types_by_node('server', '/peer'))
    assert services['/peer/flip'] == ['std_srvs/srv/SetBool']
    assert dict(seen.get_client_names_and_types_by_node('server', '/peer')) == {}


def test_a_node_that_is_not_there(seen):
    with pytest.raises(RuntimeError, match='cannot get'):
        seen.get_publisher_names_and_types_by_node('nobody', '/')


def test_who_publishes(seen):
    info, = seen.get_publishers_info_by_topic('/peer/state')
    assert (info.node_name, info.node_namespace) == ('server', '/peer')
    assert info.topic_type == 'std_msgs/msg/String'
    assert info.endpoint_type == TopicEndpointTypeEnum.PUBLISHER
    assert info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert info.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert any(info.endpoint_gid)
    if hasattr(info, 'topic_type_hash'):  # not in Humble
        assert str(info.topic_type_hash).startswith('RIHS01_df668c740482bbd48fb39d76a70dfd4b')


def test_who_subscribes(seen, spin):
    seen.create_subscription(String, '/peer/say', print, qos_profile_sensor_data)
    assert spin(lambda: seen.count_subscribers('/peer/say') == 2, seen)
    infos = {i.node_name: i for i in seen.get_subscriptions_info_by_topic('/peer/say')}
    assert set(infos) == {'server', 'tested'}
    assert infos['tested'].qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT


def test_a_rival_publisher_can_be_named(make_node, spin):
    """As the drive node does to warn of another publisher on cmd_vel."""
    mine, rival = make_node('mine'), make_node('rival')
    mine.create_publisher(String, 'cmd_vel', 1)
    other = rival.create_publisher(String, 'cmd_vel', 1)
    assert spin(lambda: mine.count_publishers('cmd_vel') == 2, mine)
    assert spin(lambda: {i.node_name for i in mine.get_publishers_info_by_topic('cmd_vel')}
                == {'mine', 'rival'}, mine)
    rival.destroy_publisher(other)
    assert spin(lambda: mine.count_publishers('cmd_vel') == 1, mine)


def test_a_destroyed_node_is_gone(make_node, spin):
    left, right = make_node('left'), make_node('right')
    assert spin(lambda: {'left', 'right'} <= set(left.get_node_names()), left)
    right.destroy_node()
    assert spin(lambda: 'right' not in left.get_node_names(), left)


def test_clients_and_services_are_counted(node, spin):
    node.create_service(Trigger, 'ask', lambda request, response: response)
    node.create_client(Trigger, 'ask')
    assert spin(lambda: node.count_services('ask') == 1 and node.count_clients('ask') == 1, node)
    assert ('/ask', ['std_srvs/srv/Trigger']) in node.get_service_names_and_types_by_node(
        'tested', '/')


def test_a_node_can_be_waited_for(server, node):
    if not hasattr(node, 'wait_for_node'):
        pytest.skip('Humble cannot')
    assert node.wait_for_node('/peer/server', timeout=20.0)
    assert not node.wait_for_node('/nobody', timeout=0.1)


def test_entities_can_be_iterated(node):
    publisher = node.create_publisher(String, 'chat', 1)
    subscription = node.create_subscription(String, 'chat', print, 1)
    client = node.create_client(SetBool, 'ask')
    assert publisher in node.publishers
    assert subscription in node.subscriptions
    assert list(node.clients) == [client]
    assert list(node.timers) == []
