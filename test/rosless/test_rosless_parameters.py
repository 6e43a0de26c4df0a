"""Parameters: declaring, types, ranges, callbacks, files, and the services that reach them."""

import math

import pytest
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterEvent,
    ParameterType,
    SetParametersResult,
)
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.exceptions import (
    InvalidParameterException,
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterAlreadyDeclaredException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from rclpy.parameter import Parameter, parameter_value_to_python

SPEED = ParameterDescriptor(
    floating_point_range=[FloatingPointRange(from_value=0.0, to_value=2.0, step=0.0)])


def results(node, *parameters):
    return [(r.successful, r.reason) for r in node.set_parameters(list(parameters))]


def message(name, value):
    return Parameter(name, value=value).to_parameter_msg()


@pytest.mark.parametrize('value, kind', [
    (True, 'BOOL'), (1, 'INTEGER'), (1.5, 'DOUBLE'), ('a', 'STRING'), ([True], 'BOOL_ARRAY'),
    ([1, 2], 'INTEGER_ARRAY'), ([1.0], 'DOUBLE_ARRAY'), (['a'], 'STRING_ARRAY'),
    ([b'\x01'], 'BYTE_ARRAY'),
])
def test_types(node, value, kind):
    parameter = node.declare_parameter('p', value)
    assert parameter.type_ == Parameter.Type[kind]
    assert list(node.get_parameter('p').value) == value if isinstance(value, list) else (
        node.get_parameter('p').value == value)
    assert node.describe_parameter('p').type == Parameter.Type[kind].value


def test_value_and_message_agree():
    for value in (True, 2, 2.5, 'x', [1, 2], ['a'], [0.5]):
        parameter = Parameter('p', value=value)
        again = Parameter.from_parameter_msg(parameter.to_parameter_msg())
        assert (again.name, again.type_) == ('p', parameter.type_)
        assert parameter_value_to_python(parameter.get_parameter_value()) == value


def test_a_value_of_the_wrong_type_is_refused():
    with pytest.raises(ValueError):
        Parameter('p', Parameter.Type.DOUBLE, 1)
    with pytest.raises(TypeError):
        Parameter('p', value={})
    with pytest.raises(TypeError):
        Parameter('p', value=[1, 'a'])


def test_declaring_twice_is_refused(node):
    node.declare_parameter('p', 1)
    with pytest.raises(ParameterAlreadyDeclaredException):
        node.declare_parameter('p', 1)


def test_an_undeclared_parameter(node):
    assert not node.has_parameter('p')
    with pytest.raises(ParameterNotDeclaredException):
        node.get_parameter('p')
    with pytest.raises(ParameterNotDeclaredException):
        node.set_parameters([Parameter('p', value=1)])


def test_an_empty_name_is_refused(node):
    with pytest.raises(InvalidParameterException):
        node.declare_parameter('', 1)


def test_undeclared_parameters_may_be_allowed(make_node):
    node = make_node(allow_undeclared_parameters=True)
    assert node.get_parameter('p').type_ == Parameter.Type.NOT_SET
    assert results(node, Parameter('p', value=1)) == [(True, '')]
    assert node.get_parameter('p').value == 1


def test_a_type_may_stand_for_a_default(node):
    node.declare_parameter('p', Parameter.Type.INTEGER)
    with pytest.raises(ParameterUninitializedException):
        node.get_parameter('p')
    assert results(node, Parameter('p', value=3)) == [(True, '')]
    assert node.get_parameter('p').value == 3


def test_the_type_stays(node):
    node.declare_parameter('p', 1.0)
    successful, reason = results(node, Parameter('p', value=1))[0]
    assert not successful
    assert 'Wrong parameter type' in reason
    assert node.get_parameter('p').value == 1.0


def test_the_type_changes_if_it_may(node):
    node.declare_parameter('p', 1.0, ParameterDescriptor(dynamic_typing=True))
    assert results(node, Parameter('p', value='one')) == [(True, '')]
    assert node.get_parameter('p').value == 'one'


def test_none_is_no_default(node):
    with pytest.raises(ValueError):
        node.declare_parameter('p', None, ParameterDescriptor())


@pytest.mark.parametrize('value, ok', [
    (0.0, True), (2.0, True), (1.3, True), (2.1, False), (-0.1, False)])
def test_a_floating_range(node, value, ok):
    node.declare_parameter('p', 1.0, SPEED)
    successful, reason = results(node, Parameter('p', value=value))[0]
    assert successful is ok
    assert ok or 'out of range' in reason


@pytest.mark.parametrize('value, ok', [(0, True), (4, True), (5, True), (3, False), (6, False)])
def test_an_integer_range_with_steps(node, value, ok):
    descriptor = ParameterDescriptor(
        integer_range=[IntegerRange(from_value=0, to_value=5, step=2)])
    node.declare_parameter('p', 2, descriptor)
    assert results(node, Parameter('p', value=value))[0][0] is ok


def test_a_default_out_of_range_is_refused(node):
    with pytest.raises(InvalidParameterValueException, match='out of range'):
        node.declare_parameter('p', 3.0, SPEED)


def test_read_only(node):
    node.declare_parameter('p', 1, ParameterDescriptor(read_only=True))
    successful, reason = results(node, Parameter('p', value=2))[0]
    assert not successful
    assert 'read-only' in reason
    with pytest.raises(ParameterImmutableException):
        node.undeclare_parameter('p')


def test_undeclaring(node):
    node.declare_parameter('p', 1)
    node.undeclare_parameter('p')
    assert not node.has_parameter('p')
    with pytest.raises(ParameterNotDeclaredException):
        node.undeclare_parameter('p')


def test_a_callback_may_refuse(node):
    asked = []

    def decide(parameters):
        asked.extend(p.name for p in parameters)
        return SetParametersResult(successful=parameters[0].value != 13, reason='unlucky')

    node.declare_parameter('p', 1)
    node.add_on_set_parameters_callback(decide)
    assert results(node, Parameter('p', value=13)) == [(False, 'unlucky')]
    assert results(node, Parameter('p', value=14))[0][0]
    assert asked == ['p', 'p']
    node.remove_on_set_parameters_callback(decide)
    assert results(node, Parameter('p', value=13))[0][0]


def test_a_callback_may_refuse_a_declaration(node):
    node.add_on_set_parameters_callback(
        lambda parameters: SetParametersResult(successful=False, reason='no'))
    with pytest.raises(InvalidParameterValueException, match='no'):
        node.declare_parameter('p', 1)


def test_callbacks_before_and_after(node):
    if not hasattr(node, 'add_pre_set_parameters_callback'):
        pytest.skip('Humble has none')
    after = []
    node.declare_parameters('', [('p', 1), ('q', 1)])
    node.add_pre_set_parameters_callback(
        lambda parameters: [*parameters, Parameter('q', value=2 * parameters[0].value)])
    node.add_post_set_parameters_callback(
        lambda parameters: after.append([(p.name, p.value) for p in parameters]))
    assert results(node, Parameter('p', value=4))[0][0]
    assert node.get_parameter('q').value == 8
    assert after == [[('p', 4), ('q', 8)]]


def test_atomically_all_or_none(node):
    node.declare_parameters('', [('p', 1), ('q', 1)])
    result = node.set_parameters_atomically(
        [Parameter('p', value=2), Parameter('q', value='two')])
    assert not result.successful
    assert node.get_parameter('p').value == 1


def test_several_in_a_namespace(node):
    declared = node.declare_parameters('arm', [('length', 1.0), ('width', 2.0)])
    assert [p.name for p in declared] == ['arm.length', 'arm.width']
    by_prefix = node.get_parameters_by_prefix('arm')
    assert {name: p.value for name, p in by_prefix.items()} == {'length': 1.0, 'width': 2.0}
    listed = node.list_parameters(['arm'], 0)
    assert sorted(listed.names) == ['arm.length', 'arm.width']
    assert list(listed.prefixes) == ['arm']


def test_get_or(node):
    node.declare_parameter('p', 1)
    other = Parameter('q', value=7)
    assert node.get_parameter_or('p', other).value == 1
    assert node.get_parameter_or('q', other).value == 7


def test_overrides_of_the_command_line(make_node):
    node = make_node(cli_args=[
        '--ros-args', '-p', 'p:=2.5', '-p', 'q:=[1, 2]', '-p', 'other:r:=3'])
    assert node.declare_parameter('p', 1.0).value == 2.5
    assert list(node.declare_parameter('q', [0]).value) == [1, 2]
    assert node.declare_parameter('r', 0).value == 0
    assert node.declare_parameter('s', 'd', ignore_override=True).value == 'd'


@pytest.mark.parametrize('text, value', [
    ('1e3', 1000.0), ('5e-1', 0.5), ('3.', 3.0), ('-.inf', -math.inf), ('inf', math.inf),
    ('+5', 5), ('010', 8), ('08', 8.0), ('-0x10', -16), ('9223372036854775808', 2.0**63),
    ('y', True), ('Off', False), ('yEs', 'yEs'), ('"5"', '5'), ("'on'", 'on'), ('!!str 5', '5'),
    ('2024_05', '2024_05'), ('1:30', '1:30'), ('2024-01-01', '2024-01-01'), ('null', 'null'),
    ('~', '~'), ('0b11', '0b11'), ('1e400', '1e400'), ('[y, n]', [True, False]),
    ('[1e3, 2.5]', [1000.0, 2.5]), ('[1:30, "1"]', ['1:30', '1']),
])
def test_values_are_read_as_rcl_reads_them(make_node, tmp_path, text, value):
    path = tmp_path / 'robot.yaml'
    path.write_text(f'/**: {{ros__parameters: {{y: {text}}}}}')
    for words in (['-p', f'y:={text}'], ['--params-file', str(path)]):
        node = make_node(cli_args=['--ros-args', *words],
                         automatically_declare_parameters_from_overrides=True)
        found = node.get_parameter('y').value
        assert (type(found), found) == (type(value), value)


def test_an_override_of_the_wrong_type_is_refused(make_node):
    node = make_node(cli_args=['--ros-args', '-p', 'p:=fast'])
    with pytest.raises(InvalidParameterTypeException):
        node.declare_parameter('p', 1.0)


def test_an_override_out_of_range_is_refused(make_node):
    node = make_node(cli_args=['--ros-args', '-p', 'p:=9.0'])
    with pytest.raises(InvalidParameterValueException, match='out of range'):
        node.declare_parameter('p', 1.0, SPEED)


def test_a_parameter_file(make_node, tmp_path):
    path = tmp_path / 'robot.yaml'
    path.write_text("""
/**:
  ros__parameters:
    everywhere: 1
    limits: {low: -1.0, high: 2.0}
    names: [a, b]
/ns/tested:
  ros__parameters:
    everywhere: 2
/ns/other:
  ros__parameters:
    foreign: 3
""")
    node = make_node(namespace='/ns', cli_args=['--ros-args', '--params-file', str(path)],
                     automatically_declare_parameters_from_overrides=True)
    assert node.get_parameter('everywhere').value == 2
    assert node.get_parameter('limits.high').value == 2.0
    assert list(node.get_parameter('names').value) == ['a', 'b']
    assert not node.has_parameter('foreign')


def test_a_parameter_file_with_patterns(make_node, tmp_path):
    path = tmp_path / 'robot.yaml'
    path.write_text('/*/tested: {ros__parameters: {p: 1}}\n/**/tested: {ros__parameters: {q: 2}}')
    node = make_node(namespace='/ns', cli_args=['--ros-args', '--params-file', str(path)],
                     automatically_declare_parameters_from_overrides=True)
    assert (node.get_parameter('p').value, node.get_parameter('q').value) == (1, 2)


@pytest.mark.parametrize('words, value', [
    (('all', 'own'), 1), (('own', 'all'), 2), (('all', '-p'), 9), (('-p', 'all'), 2),
    (('own', '-p'), 9), (('-p', 'own'), 1), (('all', 'own', '-p'), 1), (('both',), 1),
    (('other way',), 2), (('twice',), 3),
])
def test_the_later_one_counts(make_node, tmp_path, words, value):
    """Each section stands where its pattern is first named, so `-p` does where `/**` is."""
    own, both = '/tested: {ros__parameters: {p: 1}}', '/**: {ros__parameters: {p: 2}}'
    files = {'own': own, 'all': both, 'both': f'{both}\n{own}', 'other way': f'{own}\n{both}',
             'twice': f'{own}\n{own.replace("p: 1", "p: 3")}'}
    given = []
    for word in words:
        if word in files:
            (tmp_path / f'{word}.yaml').write_text(files[word])
            given += ['--params-file', str(tmp_path / f'{word}.yaml')]
        else:
            given += ['-p', 'p:=9']
    node = make_node(cli_args=['--ros-args', *given])
    assert node.declare_parameter('p', 0).value == value


@pytest.mark.parametrize('content', [
    None, 'a: [', 'tested: {p: 1}', 'tested: {ros__parameters: {p: }}',
    'tested: {ros__parameters: }', 'tested: {ros__parameters: {p: &a 1, q: *a}}'])
def test_a_bad_parameter_file_is_refused(make_node, tmp_path, content):
    path = tmp_path / 'robot.yaml'
    if content is not None:
        path.write_text(content)
    with pytest.raises(RuntimeError, match='robot.yaml'):
        make_node(cli_args=['--ros-args', '--params-file', str(path)])


def test_changes_are_published(make_node, spin):
    events = []
    watcher, node = make_node('watcher'), make_node()
    watcher.create_subscription(ParameterEvent, '/parameter_events', events.append, 10)
    assert spin(lambda: watcher.count_publishers('/parameter_events') >= 2, watcher)
    spin(lambda: False, watcher, patience_s=0.2)
    node.declare_parameter('p', 1)
    node.set_parameters([Parameter('p', value=2)])
    mine = [e for e in events if e.node == '/tested']

    def heard():
        mine[:] = [e for e in events if e.node == '/tested']
        return any(e.changed_parameters for e in mine)

    assert spin(heard, watcher)
    assert mine[-1].changed_parameters[0].value.integer_value == 2


def test_services_list_and_describe(server, node, call):
    listed = call(node, ListParameters, '/peer/server/list_parameters', ListParameters.Request())
    assert {'speed', 'count', 'serial', 'list.names', 'use_sim_time'} <= set(listed.result.names)
    assert 'list' in listed.result.prefixes
    described = call(node, DescribeParameters, '/peer/server/describe_parameters',
                     DescribeParameters.Request(names=['speed', 'serial']))
    speed, serial = described.descriptors
    assert (speed.description, speed.floating_point_range[0].to_value) == ('m/s', 2.0)
    assert serial.read_only


def test_services_get(server, node, call):
    got = call(node, GetParameters, '/peer/server/get_parameters',
               GetParameters.Request(names=['serial', 'list.names']))
    assert got.values[0].string_value == 'A1'
    assert list(got.values[1].string_array_value) == ['a', 'b']
    types = call(node, GetParameterTypes, '/peer/server/get_parameter_types',
                 GetParameterTypes.Request(names=['speed', 'count']))
    assert list(types.types) == [
        ParameterType.PARAMETER_DOUBLE, ParameterType.PARAMETER_INTEGER]
    unknown = call(node, GetParameters, '/peer/server/get_parameters',
                   GetParameters.Request(names=['serial', 'nothing']))
    assert list(unknown.values) == []


@pytest.mark.parametrize('name, value, ok, reason', [
    ('speed', 1.5, True, ''), ('speed', 2.5, False, 'out of range'),
    ('speed', 1, False, 'Wrong parameter type'), ('speed', 0.5, False, 'unlucky'),
    ('count', 4, True, ''), ('count', 5, False, 'step'), ('serial', 'B', False, 'read-only'),
    ('nothing', 1, False, 'undeclared')])
def test_services_set(server, node, call, name, value, ok, reason):
    answer = call(node, SetParameters, '/peer/server/set_parameters',
                  SetParameters.Request(parameters=[message(name, value)]))
    assert answer.results[0].successful is ok
    assert reason in answer.results[0].reason


def test_services_set_atomically(server, node, call):
    answer = call(node, SetParametersAtomically, '/peer/server/set_parameters_atomically',
                  SetParametersAtomically.Request(parameters=[
                      message('count', 8), message('serial', 'C')]))
    assert not answer.result.successful
    got = call(node, GetParameters, '/peer/server/get_parameters',
               GetParameters.Request(names=['count']))
    assert got.values[0].integer_value != 8
