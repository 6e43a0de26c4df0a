"""What the robot is asked, in words, and whether it did it."""
import enum
import math

from vla_nav.sim.scene import Scene

TEMPLATES = (
    'go to the {colour} {shape}',
    'drive to the {colour} {shape}',
    'move to the {colour} {shape}',
    'head to the {colour} {shape}',
    'navigate to the {colour} {shape}',
    'approach the {colour} {shape}',
    'find the {colour} {shape}',
    'find the {colour} {shape} and stop there',
    'go over to the {colour} {shape}',
    'go and stand by the {colour} {shape}',
    'stop at the {colour} {shape}',
    'please go to the {colour} {shape}',
    'please drive over to the {colour} {shape}',
    'your target is the {colour} {shape}',
    'look for the {colour} {shape} and drive up to it',
    'get close to the {colour} {shape}',
)
"""Sentences used for training; the first is the plain one."""

HELD_OUT_TEMPLATES = (
    'take me to the {colour} {shape}',
    'I want you next to the {colour} {shape}',
    'could you roll up to the {shape} that is {colour}?',
    'visit the {colour} {shape}',
    'make your way towards the {colour} {shape}, please',
    'the {colour} {shape} is where you should be',
)
"""Sentences never used in training, for the split 'paraphrases'."""

SUCCESS_RADIUS_M = 0.6
REST_SPEED_MPS = 0.03
REST_TURN_RADPS = 0.1
REST_S = 1.0
REST_ELSEWHERE_S = 3.0
TIME_LIMIT_S = 40.0


class Outcome(enum.Enum):
    """How an episode stands."""

    RUNNING = 'running'
    SUCCESS = 'success'
    COLLISION = 'collision'
    TIMEOUT = 'timeout'


class Judge:
    """Watches one attempt at a scene's task.

    Success: the robot's centre within SUCCESS_RADIUS_M of the named object's centre, at rest for
    REST_S, without collision, within `time_limit_s`. The first end is final.
    """

    def __init__(self, scene: Scene, time_s: float = 0.0, time_limit_s: float = TIME_LIMIT_S):
        self.outcome = Outcome.RUNNING
        self.rested_at: int | None = None
        """The object the robot came to rest at: the target at success, another object once the
        robot has rested within SUCCESS_RADIUS_M of it for REST_ELSEWHERE_S."""
        self._scene = scene
        self._start_s = time_s
        self._deadline_s = time_s + time_limit_s
        self._rest_since_s = None

    @property
    def start_s(self) -> float:
        """Simulated time at which the attempt began."""
        return self._start_s

    def observe(self, time_s: float, x: float, y: float, v: float, w: float,
                collided: bool) -> Outcome:
        """Take in the state at `time_s` (s, m, m/s, rad/s)."""
        resting = abs(v) < REST_SPEED_MPS and abs(w) < REST_TURN_RADPS
        if not resting:
            self._rest_since_s = None
        elif self._rest_since_s is None:
            self._rest_since_s = time_s
        if self.outcome is not Outcome.RUNNING:
            return self.outcome
        rested_s = 0.0 if self._rest_since_s is None else time_s - self._rest_since_s + 1e-9
        if collided:
            self.outcome = Outcome.COLLISION
        elif rested_s >= REST_S:
            self._judge_rest(rested_s, x, y)
        if self.outcome is Outcome.RUNNING and time_s >= self._deadline_s - 1e-9:
            self.outcome = Outcome.TIMEOUT
        return self.outcome

    def _judge_rest(self, rested_s, x, y):
        goal = self._scene.target_object
        if math.hypot(goal.x - x, goal.y - y) <= SUCCESS_RADIUS_M:
            self.outcome = Outcome.SUCCESS
            self.rested_at = self._scene.target
        elif rested_s >= REST_ELSEWHERE_S and self.rested_at is None:
            distance, index = min(
                (math.hypot(thing.x - x, thing.y - y), i)
                for i, thing in enumerate(self._scene.objects))
            if distance <= SUCCESS_RADIUS_M:
                self.rested_at = index
