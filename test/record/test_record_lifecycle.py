"""The recorder's states: nothing is lost between them."""

import pytest
import yaml
from lifecycle_msgs.srv import ChangeState, GetState
from recorded_robot import CONTRACT, RecorderProcess, Robot

from vla_nav.episodes.reader import BagReader


@pytest.fixture
def robot(tmp_path):
    """A robot, and a recorder that others start."""
    contract = tmp_path / 'robot.yaml'
    contract.write_text(yaml.safe_dump(CONTRACT))
    out = tmp_path / 'episodes'
    process = RecorderProcess(tmp_path / 'log', '/managed', contract, out, autostart=False,
                              require_instruction=False)
    robot = Robot('/managed', out)
    robot.recorder = process
    yield robot
    process.end()
    robot.close()


def ask(robot, kind, name, request):
    client = robot.node.create_client(kind, f'record/{name}')
    robot.until(lambda: client.wait_for_service(timeout_sec=0.0), f'the service {name}')
    answer = client.call_async(request)
    robot.until(answer.done, f'an answer of {name}')
    return answer.result()


def change(robot, label):
    request = ChangeState.Request()
    request.transition.label = label
    return ask(robot, ChangeState, 'change_state', request).success


def state(robot):
    return ask(robot, GetState, 'get_state', GetState.Request()).current_state.label


def hear(robot):
    """Wait for the topics to be heard."""
    robot.until(lambda: robot.count('camera/image_raw') > 3, 'hearing the camera')


def test_an_episode_is_kept_when_the_recorder_is_deactivated(robot):
    assert state(robot) == 'unconfigured'
    robot.until(lambda: robot.summary == 'unconfigured', 'a report')
    assert robot.call('start') == (False, 'the recorder is unconfigured, not active: see `ros2 '
                                   'lifecycle list /managed/record`')
    assert change(robot, 'configure')
    hear(robot)
    robot.until(lambda: robot.summary == 'inactive', 'a report')
    assert 'is inactive, not active' in robot.call('start')[1]
    assert change(robot, 'activate')
    assert robot.call('start')[0]
    robot.later('camera', 20)
    assert change(robot, 'deactivate')
    bag_path, = robot.bags()
    with BagReader(bag_path) as bag:
        assert bag.metadata.stop_reason == 'the recorder was deactivated'
        assert not bag.metadata.recovered
        assert not bag.metadata.dropped
        assert len(list(bag.messages(bag.resolve('camera/image_raw')))) >= 20
    assert robot.mark(True) == (True, f'{bag_path.name} is a success')
    assert change(robot, 'activate')
    assert robot.call('start')[0]
    robot.later('camera', 5)
    assert robot.call('stop')[0]
    assert len(robot.bags()) == 2


def test_cleaned_up_it_hears_nothing_until_it_is_configured_again(robot):
    robot.say('go to the red ball')
    assert change(robot, 'configure')
    robot.until(lambda: robot.figures.get('instruction') == 'go to the red ball', 'instruction')
    hear(robot)
    assert change(robot, 'cleanup')
    robot.until(lambda: robot.summary == 'unconfigured' and robot.figures['instruction'] == '',
                'a report')
    assert robot.node.count_subscribers('camera/image_raw') == 0
    assert change(robot, 'configure')
    assert change(robot, 'activate')
    robot.until(lambda: robot.figures.get('instruction') == 'go to the red ball', 'instruction')
    assert robot.call('start')[0]
    robot.later('camera', 5)
    assert change(robot, 'shutdown')
    bag_path, = robot.bags()
    with BagReader(bag_path) as bag:
        assert bag.metadata.instruction == 'go to the red ball'
        assert bag.metadata.stop_reason == 'the recorder was deactivated'
    assert state(robot) == 'finalized'


def test_a_folder_that_cannot_be_written_leaves_it_unconfigured(robot):
    robot.out.write_text('in the way')
    assert not change(robot, 'configure')
    assert state(robot) == 'unconfigured'
    assert (f'still unconfigured, not inactive: {robot.out} cannot be written: {robot.out} is no '
            'folder') in robot.recorder.output
    robot.out.unlink()
    assert change(robot, 'configure')
    assert state(robot) == 'inactive'
