"""A contract is read whole, or refused by field."""

import dataclasses

import pytest

from vla_nav.contract import Camera, Command, Contract, ContractError, contract_file
from vla_nav.share import share_path


def test_the_simulated_robot_survives_a_round_trip(tmp_path):
    contract = Contract.load(share_path('config/robots/sim.yaml'))
    path = tmp_path / 'again.yaml'
    path.write_text(contract.to_yaml())
    assert Contract.load(path) == contract
    assert contract.command.units == ('m/s', 'rad/s')


@pytest.mark.parametrize(('data', 'message'), [
    ({'rate_hz': 0}, r'rate_hz is 0; expected a rate from 0\.1 to 200 Hz'),
    ({'camera': {'width': 3}}, r'camera\.width is 3; expected a whole number of pixels'),
    ({'rate_hz': True}, r'rate_hz is True; expected a rate'),
    ({'camera': {'crop': '0011'}}, r"camera\.crop is '0011'; expected \[left, top"),
    ({'idle_speed': [True, 0.02]}, r'idle_speed is \[True, 0\.02\]; expected a list of 2'),
    ({'camera': {'crop': [0.5, 0, 0.2, 1]}}, r'camera\.crop is \[0\.5, 0, 0\.2, 1\]'),
    ({'camera': {'type': 'sensor_msgs/Image'}}, r'camera\.type .* expected one of sensor_msgs/m'),
    ({'command': {'fields': ['linear.x', 'linear.x']}}, r'command\.fields .* two different ones'),
    ({'command': {'low': [0.1, -1]}}, r'must be able to stand still'),
    ({'command': {'high': [0.5, float('nan')]}}, r'command\.high .* 2 finite numbers'),
    ({'command': {'max_accel': [0, 1]}}, r'max_accel is 0\.0; expected more than 0 for linear\.x'),
    ({'command': {'fields': [{'linear.x': 1}, 'angular.z']}}, r'command\.fields .* two different'),
    ({'camera': None}, r'camera is empty; expected fields with values'),
    ({'camera': {'topic': 'camera/front-left'}}, r'camera\.topic .* letters, digits, underscores'),
    ({'teleop_topic': 'cmd_vel'}, r'topics is .* expected one each for camera, command'),
    ({'camra': {}}, r"unknown field 'camra'; known are robot"),
    ({'odometry': {'topik': 'odom'}}, r"odometry has an unknown field 'topik'"),
    ([], r'contract is list; expected fields'),
])
def test_bad_fields_are_named(data, message):
    with pytest.raises(ContractError, match=message):
        Contract.from_dict(data)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ContractError, match=r'cannot read contract .*none\.yaml'):
        Contract.load(tmp_path / 'none.yaml')
    bad = tmp_path / 'bad.yaml'
    bad.write_text('camera: [')
    with pytest.raises(ContractError, match=r'bad\.yaml is not valid YAML'):
        Contract.load(bad)


def test_differences_name_what_the_numbers_mean_and_nothing_else():
    one = Contract()
    other = dataclasses.replace(
        one, robot='other', rate_hz=5.0, camera=Camera(topic='front', width=128),
        command=Command(fields=('linear.x', 'linear.y')))
    found = ' '.join(one.differences(other))
    for field in ('command.fields', 'command.units', 'rate_hz', 'camera.width'):
        assert field in found
    assert 'topic' not in found and 'robot is' not in found
    assert one.differences(dataclasses.replace(one, robot='other')) == []


def test_a_robot_is_found_by_name_and_by_path(tmp_path):
    assert contract_file('sim').name == 'sim.yaml'
    path = tmp_path / 'mine.yaml'
    path.write_text('robot: mine\n')
    assert contract_file(str(path)) == path
    with pytest.raises(ContractError, match='known are .*sim'):
        contract_file(str(tmp_path / 'other.yaml'))
