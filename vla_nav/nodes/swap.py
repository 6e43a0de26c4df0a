"""Which model drives: named by a parameter, loaded beside the one before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from vla_nav import rosless
from vla_nav.errors import VlaNavError
from vla_nav.nodes.models import ModelLoader

rosless.ensure()

from rclpy.parameter import Parameter  # noqa: E402

if TYPE_CHECKING:
    from vla_nav.nodes.drive import DriveNode


class ModelSwap:
    """The drive node's models.

    One lock covers asking for a model and changing over to one, so that what is asked for in the
    very moment in which another is ready, or refused, is neither lost nor overruled.
    """

    def __init__(self, node: DriveNode, values: dict) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._wanted = False
        self._telling: int | None = None
        self.name: str | None = None
        """Of the model that drives."""
        self.loader = ModelLoader(node.contract, values['device'], values['engine'],
                                  values['threads'], self._ready, self.failed)

    @property
    def parameter(self) -> str:
        """The model asked for."""
        return self._node.get_parameter('model').value

    def want(self, wanted: bool) -> None:
        """Whether there shall be a model at all; if not, let go of it, and of what is loading."""
        with self._lock:
            self._wanted = wanted
            if not wanted:
                self.name = None
                self.loader.cancel()
                self._node.worker.drop()

    def load(self) -> None:
        """Check the model asked for, and load it."""
        model = self.parameter
        try:
            self.loader.check(model)
        except VlaNavError as error:
            self.failed(model, f'model refused: {error}')
            return
        self.loader.request(model)

    def drives(self, model: str) -> bool:
        """Whether this is the model that drives, as that is on disk; else it may be asked for.

        Raises VlaNavError if it may not.
        """
        policy = self._node.worker.policy if model == self.name else None
        try:
            found = self.loader.check(model)
        except VlaNavError as error:
            if policy is not None:
                return True  # It drives on, whatever has become of its folder.
            if self.loader.loading is None:
                self.loader.status = f'model refused: {error}'
            raise
        return policy is not None and found.sha256 == policy.sha256

    def ask(self, model: str, drives: bool) -> None:
        """Have this model drive; if it does already, drop what is loading."""
        with self._lock:
            if self._wanted and drives and model == self.name:
                self.loader.cancel()
            elif self._wanted:
                self.loader.request(model)

    def telling(self, model: str) -> bool | None:
        """None if a user sets the parameter; else whether what it shall be told is true still."""
        if self._telling != threading.get_ident():
            return None
        with self._lock:
            return model == self.name and self.loader.loading is None

    def failed(self, _model: str, reason: str) -> None:
        """Go on with the model that drives, if one does."""
        node = self._node
        self.loader.status = reason
        if node.stage == 'unconfigured':
            return  # `configure` waits for this, and says it.
        node.get_logger().error(reason)
        if node.worker.policy is None:
            node.get_logger().error('the parameter model takes another one, ~/resume tries again')
            node.controller.hold(reason)
            if node.output.in_charge:
                node.controller.fault(reason)
        else:
            self._tell()

    def _ready(self, model: str, policy, accept: Callable[[], bool]) -> None:
        with self._lock:
            if not accept():
                return
            self._node.worker.use(policy)
            self.name = model
        self._tell()
        self._node.get_logger().info(
            f'driving with model {policy.name} ({policy.sha256[:12]}) on {policy.engine.name}')

    def _tell(self) -> None:
        """Let the parameter name the model that drives, unless another one is wanted by now."""
        if self.parameter != self.name:
            self._telling = threading.get_ident()
            self._node.set_parameters([Parameter('model', value=self.name)])
            self._telling = None
