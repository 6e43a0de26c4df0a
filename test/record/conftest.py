"""Fixtures of the recorder tests."""

import pytest
import yaml
from recorded_robot import CONTRACT, RecorderProcess, Robot


@pytest.fixture
def start(tmp_path, request):
    """Return a function that starts a recorder and the robot around it."""
    namespace = f'/r{abs(hash(request.node.name)) % 10**8}'
    contract = tmp_path / 'robot.yaml'
    contract.write_text(yaml.safe_dump(CONTRACT))
    out = tmp_path / 'episodes'
    robots, processes = [], []

    def run(**parameters):
        processes.append(RecorderProcess(tmp_path / 'log', namespace, contract, out,
                                         **parameters))
        if not robots:
            robots.append(Robot(namespace, out))
        robot = robots[0]
        robot.figures = {}
        robot.until(lambda: robot.count('odom') > 3 and robot.count('camera/image_raw') > 3,
                    f'recording of topics\n{processes[-1].output}')
        robot.recorder = processes[-1]
        return robot

    yield run
    for process in processes:
        process.end()
    for robot in robots:
        robot.close()
