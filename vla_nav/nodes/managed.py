"""Nodes whose life others manage, as the ROS 2 design article "Managed nodes" has it."""

from __future__ import annotations

from collections.abc import Callable

from vla_nav import rosless
from vla_nav.errors import VlaNavError

rosless.ensure()

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup  # noqa: E402
from rclpy.lifecycle import LifecycleNodeMixin, TransitionCallbackReturn  # noqa: E402
from rclpy.node import Node  # noqa: E402

from vla_nav.nodes.parameters import Parameter  # noqa: E402

AUTOSTART = Parameter('autostart', True, 'Configure and activate by itself at the start; false: '
                      'wait for `ros2 lifecycle set`.')


class ManagedNode(LifecycleNodeMixin, Node):
    """A node that is configured, activated, deactivated and cleaned up by others, or by itself.

    Subclasses say what that means. An exception in a transition ends all work and frees
    everything, but for a VlaNavError of `configure` or `activate`, which leaves the node where it
    was; each is logged. `deactivate` and `cleanup` do no harm where there is nothing to end.
    """

    def __init__(self, name: str) -> None:
        Node.__init__(self, name)
        self.transitions = MutuallyExclusiveCallbackGroup()
        """Callbacks in this group never run during a transition."""
        LifecycleNodeMixin.__init__(self, callback_group=self.transitions)
        self.stage = 'unconfigured'
        """The state reached last: unconfigured, inactive, active or finalized."""
        self.starting = False
        """Whether the node is starting by itself: nobody waits for it, or hears a refusal."""

    def configure(self) -> None:
        """Get ready. Raises VlaNavError to stay unconfigured."""
        raise NotImplementedError

    def activate(self) -> None:
        """Begin to work. Raises VlaNavError to stay inactive."""
        raise NotImplementedError

    def deactivate(self) -> None:
        """End all work safely."""
        raise NotImplementedError

    def cleanup(self) -> None:
        """Free what `configure` took."""
        raise NotImplementedError

    def autostart(self) -> None:
        """Configure and activate; to be called before the node is spun."""
        self.starting = True
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()
        self.starting = False

    def on_configure(self, _state) -> TransitionCallbackReturn:
        return self._go('inactive', self.configure, refusals=VlaNavError)

    def on_activate(self, _state) -> TransitionCallbackReturn:
        return self._go('active', self.activate, refusals=VlaNavError)

    def on_deactivate(self, _state) -> TransitionCallbackReturn:
        return self._go('inactive', self.deactivate)

    def on_cleanup(self, _state) -> TransitionCallbackReturn:
        return self._go('unconfigured', self.cleanup)

    def on_shutdown(self, _state) -> TransitionCallbackReturn:
        return self._go('finalized', self._end)

    def on_error(self, _state) -> TransitionCallbackReturn:
        result = self._go('unconfigured', self._end)
        if result != TransitionCallbackReturn.SUCCESS:
            self.stage = 'finalized'
        return result

    def _end(self) -> None:
        try:
            self.deactivate()
        finally:
            self.cleanup()

    def _go(self, stage: str, work: Callable[[], None],
            refusals: type[Exception] | tuple[()] = ()) -> TransitionCallbackReturn:
        log = self.get_logger()
        try:
            work()
        except refusals as error:
            log.error(f'still {self.stage}, not {stage}: {error}')
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # rclpy would pass over it in silence.
            log.error(f'{self.stage} to {stage}: {type(error).__name__}: {error}')
            return TransitionCallbackReturn.ERROR
        if not self.starting:
            log.info(f'now {stage}, was {self.stage}')
        self.stage = stage
        return TransitionCallbackReturn.SUCCESS
