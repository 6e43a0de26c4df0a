"""Every protection of the drive node, and the source edits that switch it off.

`prove.py` applies them one at a time. A text that is not found exactly once is an error, so that
this table cannot fall behind the code unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Edit:
    """A text that occurs once in a file of the package, and what takes its place."""

    file: str
    old: str
    new: str

    def apply(self, package: Path) -> None:
        """Edit a copy of the package."""
        path = package / self.file
        text = path.read_text(encoding='utf-8')
        count = text.count(self.old)
        if count != 1:
            raise LookupError(f'{path}: {self.old!r} occurs {count} times; expected once. '
                              'Adapt protections.py to the code')
        path.write_text(text.replace(self.old, self.new), encoding='utf-8')


@dataclass(frozen=True)
class Protection:
    """What is switched off, and the cases of which one must fail then."""

    name: str
    edits: tuple[Edit, ...]
    file: str
    """Of the tests, in test/."""
    cases: str = ''
    """Those of the file that pytest's -k selects; empty: all."""


WATCHDOG, CONTROLLER = 'control/watchdog.py', 'control/controller.py'
EXECUTOR, LIMITS = 'control/executor.py', 'control/limits.py'
DRIVE, REPORT, MODELS = 'nodes/drive.py', 'nodes/drive_report.py', 'nodes/models.py'
SWAP = 'nodes/swap.py'
INFERENCE, FILES, CHECKPOINT = 'nodes/inference.py', 'policy/files.py', 'policy/checkpoint.py'
CAMERA_CASES, POLICY_CASES = 'faults/test_faults_camera.py', 'faults/test_faults_inference.py'
TEXT_CASES, CLOCK_CASES = 'faults/test_faults_instruction.py', 'faults/test_faults_clock.py'
MODEL_CASES, SWAP_CASES = 'faults/test_faults_checkpoint.py', 'faults/test_faults_swap.py'
SYSTEM_CASES, WIRE_CASES = 'faults/test_faults_system.py', 'faults/test_faults_wire.py'
RACES = 'nodes/test_nodes_swap.py'

_NO_CAMERA_WATCH = Edit(
    CONTROLLER, 'problem = self._camera.problem(now_ns, steady_ns, self._moving_since_ns)',
    'problem = None')
_OLD_ACTIONS = Edit(CONTROLLER, 'self._acting_age_ns(now_ns, steady_ns) <= self._stale_ns', 'True')
_NO_POLICY_TIMEOUT = Edit(
    WATCHDOG, 'return steady_ns - self._since_ns > self._timeout_ns', 'return False')
_NO_CONFINING = Edit(
    FILES, "if not relative or pure.is_absolute() or '..' in pure.parts or '\\\\' in relative:",
    'if False:')
_NO_LINK_CHECK = Edit(FILES, 'if not path.resolve().is_relative_to(real_root):', 'if False:')
_NO_PY = Edit(FILES, "'.pth', '.py'}", "'.pth'}")

PROTECTIONS = (
    Protection('all watchdogs', (_NO_CAMERA_WATCH, _OLD_ACTIONS, _NO_POLICY_TIMEOUT),
               CAMERA_CASES),
    Protection('images grow old by a steady clock', (
        Edit(WATCHDOG, 'silent = steady_ns - self._arrival_ns > self._stale_ns',
             'silent = False'),), CLOCK_CASES, 'pauses_with_its_camera'),
    Protection('images grow old by their stamps', (
        Edit(WATCHDOG, 'if age_ns > self._stale_ns:', 'if False:'),), CAMERA_CASES, 'come_late'),
    Protection('no action is driven on an old image', (_OLD_ACTIONS,), POLICY_CASES,
               'hang or slow'),
    Protection('frozen pixels', (
        Edit(WATCHDOG, 'if self._freeze_ns and moving_since_ns is not None:', 'if False:'),),
        CAMERA_CASES, 'with_new_stamps'),
    Protection('the same stamp again', (
        Edit(WATCHDOG, 'if stamp_ns == self.stamp_ns:', 'if False:'),), CLOCK_CASES,
        'films_on'),
    Protection('stamps of zero', (Edit(WATCHDOG, 'if stamp_ns <= 0:', 'if False:'),),
               CAMERA_CASES, 'zero'),
    Protection('stamps in the future', (
        Edit(WATCHDOG, 'if stamp_ns - now_ns > self._tolerance_ns:', 'if False:'),),
        CAMERA_CASES, 'future'),
    Protection('stamps that go back', (
        Edit(WATCHDOG, 'if stamp_ns < self.stamp_ns:', 'if False:'),), CAMERA_CASES, 'backwards'),
    Protection('images that cannot be decoded', (
        Edit(WATCHDOG, 'self._unreadable_ns = steady_ns\n', 'pass\n'),), CAMERA_CASES,
        'truncated or encoding'),
    Protection('size of an image', (
        Edit('frames.py', """    if width * height > MAX_PIXELS:
        raise FrameError(f'image is {width}x{height} pixels; at most {MAX_PIXELS} are accepted')
    row =""", '    row ='),), CAMERA_CASES, 'huge or large'),
    Protection('size of a compressed image', (
        Edit('frames.py', '    _check_compressed(data, found)\n', ''),),
        'contract/test_contract_frames.py', 'bad_images'),
    Protection('the clock jumps', (
        Edit(WATCHDOG, 'before, self._before = self._before, (now_ns, steady_ns)',
             'before = None'),), CLOCK_CASES, 'jumps or is_set'),
    Protection('the control loop runs on a steady clock', (
        Edit(DRIVE, """ControlLoop(settings.period_s, self._periodic_tick, self._tick_failed)""",
             """ControlLoop(settings.period_s, lambda: None, self._tick_failed)
        self.create_timer(settings.period_s, self._periodic_tick,
                          callback_group=MutuallyExclusiveCallbackGroup())"""),),
        CLOCK_CASES, 'pauses_with_its_camera'),
    Protection('a tick that raises is not the last', (
        Edit('nodes/control_loop.py', 'self._on_error(error)', 'raise'),),
        'nodes/test_nodes_control_loop.py', 'raises'),
    Protection('a fault is latched', (
        Edit(CONTROLLER, '        if machine.latch:\n            return machine.latch\n', ''),),
        CAMERA_CASES, 'it_stops or 1_hz'),
    Protection('actions are finite', (Edit(EXECUTOR, 'if not finite.all():', 'if False:'),),
               POLICY_CASES, 'nan'),
    Protection('actions have two fields', (
        Edit(EXECUTOR, 'if actions.ndim != 2 or', 'if False and'),), POLICY_CASES,
        'shape or empty'),
    Protection('steps last some time', (
        Edit(EXECUTOR, 'if not low <= chunk.step_s <= high:', 'if False:'),), POLICY_CASES,
        'instant'),
    Protection('limits of velocity', (
        Edit(LIMITS, 'return low if value < low else high if value > high else value',
             'return value'),), POLICY_CASES, 'limits or backwards'),
    Protection('limits of acceleration', (
        Edit(LIMITS, """    if target > value + most:
        return value + most
    if target < value - most:
        return value - most
""", ''),), POLICY_CASES, 'limits or backwards'),
    Protection("a human's command is finite", (
        Edit(LIMITS, 'finite = math.isfinite(v0) and math.isfinite(v1)', 'finite = True'),),
        SYSTEM_CASES, 'no_number'),
    Protection('a policy that does not answer', (_NO_POLICY_TIMEOUT,), POLICY_CASES,
               'hang or slow'),
    Protection('a policy that must load first is waited for', (
        Edit(INFERENCE, 'waits = policy.must_load(task.instruction)', 'waits = False'),),
        POLICY_CASES, 'must_be_loaded'),
    Protection('a policy that raises', (
        Edit(INFERENCE, 'failed = True\n            self._controller.policy_failed('
             'self._failed(policy, error), task)', 'failed = True'),
        Edit(INFERENCE, 'looker.forget()\n            self._controller.policy_failed('
             'self._failed(policy, error), task)', 'looker.forget()'),),
        POLICY_CASES, 'raise or exhaust'),
    Protection('a policy whose library panics', (
        Edit(INFERENCE, 'except BaseException as error:  # As above.',
             'except Exception as error:  # As above.'),
        Edit(INFERENCE, 'except BaseException as error:  # Without',
             'except Exception as error:  # Without')), POLICY_CASES, 'panic'),
    Protection('a model whose library panics', (
        Edit(MODELS, 'except BaseException as error:  # Whatever a file',
             'except Exception as error:  # Whatever a file'),
        Edit(MODELS, 'except BaseException as error:  # Without',
             'except Exception as error:  # Without')), RACES, 'panics'),
    Protection('a policy below its rate is reported', (
        Edit(REPORT, 'if state == State.DRIVING and 0.0 < policy_hz', 'if False and policy_hz'),),
        POLICY_CASES, 'slower'),
    Protection('instructions are checked', (
        Edit(CONTROLLER, 'checked = check_instruction(text)', 'checked = text'),), TEXT_CASES,
        'bad_instruction'),
    Protection('a refused instruction stops the robot', (
        Edit(CONTROLLER, "self._state.stop(f'instruction refused: {error}')", 'pass'),),
        TEXT_CASES, 'bad_instruction'),
    Protection('a repeated instruction releases nothing', (
        Edit(CONTROLLER, 'if text == self._received:', 'if False:'),),
        'control/test_control_controller.py', 'same_instruction_again'),
    Protection('several repeated instructions release nothing', (
        Edit(CONTROLLER, 'new = not self._heard_lately(text, steady_ns)', 'new = True'),),
        SYSTEM_CASES, 'two_sentences'),
    Protection('a stop beats a human', (
        Edit(CONTROLLER, 'if not self._human_must_pause:', 'if True:'),), SYSTEM_CASES,
        'stuck'),
    Protection('what is obeyed is not what is published', (
        Edit(DRIVE, '        self._check_topics()\n', ''),), 'nodes/test_nodes_parameters.py',
        'same_topic'),
    Protection('an emergency stop is released by a message of now', (
        Edit('nodes/latched.py', 'heeded = source == 0 or counts(message.data)', 'heeded = True'),
    ), 'nodes/test_nodes_latched.py', 'does_not_count'),
    Protection('what a link repeats is not new', (
        Edit('nodes/latched.py', 'new = not done and now_ns - first_ns <= _PAIR_NS',
             'new = True'),), 'nodes/test_nodes_latched.py', 'again or in_time'),
    Protection('the last commands are zeros', (
        Edit('nodes/command.py', '_LAST_ZEROS if self.in_charge else 0', '0'),), SYSTEM_CASES,
        'told_to_end'),
    Protection('a closed terminal is a signal to end', (
        Edit('nodes/runner.py', ', signal.SIGQUIT, signal.SIGHUP', ''),), SYSTEM_CASES,
        'model_loads'),
    Protection('what is printed is not waited for', (
        Edit('nodes/runner.py', 'with unblocked_output():', 'if True:'),), SYSTEM_CASES,
        'nobody_reads'),
    Protection('rivals are named', (
        Edit(REPORT, 'max(self._node.count_publishers(self._topic) - 1, 0)', '0'),),
        SYSTEM_CASES, 'rival or second'),
    Protection('a new model is checked at once', (
        Edit(DRIVE, 'model is not None and self.models.drives(model)', 'False'),), MODEL_CASES,
        'nobody_can'),
    Protection('a check that fails in any way is answered', (
        Edit(MODELS, '        except Exception as error:  # An answer is owed',
             '        except VlaNavError as error:  # An answer is owed'),), MODEL_CASES, 'long'),
    Protection('a model that breaks a library', (
        Edit(MODELS, '        except BaseException as error:  # Whatever a file',
             '        except VlaNavError as error:  # Whatever a file'),), MODEL_CASES,
        'two_colours'),
    Protection('a model is tried before it drives', (
        Edit(MODELS, '            policy.warm_up()\n', ''),), SWAP_CASES, 'not_numbers'),
    Protection('the parameter goes back', (
        Edit(SWAP, "self._node.set_parameters([Parameter('model', value=self.name)])", 'pass'),),
        SWAP_CASES, 'not_numbers or into_memory'),
    Protection('a later request supersedes', (
        Edit(MODELS, 'if self._wanted is None or number != self._number:\n', 'if False:\n'),),
        SWAP_CASES, 'supersedes or cancels'),
    Protection('a request in the moment in which another is ready is not overruled', (
        Edit(SWAP, 'if not accept():', 'if accept() and False:'),), RACES, 'back_to'),
    Protection('a request in the moment in which another is refused is not overruled', (
        Edit(DRIVE, 'if told is not None:', 'if False:'),), RACES, 'good_one'),
    Protection('weights are apart from their file', (
        Edit('policy/backbone.py', '                    _own_weights(model)\n',
             '                    pass\n'),), SWAP_CASES, 'files_changed'),
    Protection("a head's weights are apart from their file", (
        Edit(FILES, 'return load(path.read_bytes())',
             "return __import__('safetensors.torch').torch.load_file(path)"),), SWAP_CASES,
        'files_changed and head'),
    Protection('a model that is replaced while it loads', (
        Edit('policy/policy.py', '        checkpoint.check_unchanged()\n        return policy',
             '        return policy'),), 'policy/test_policy_checkpoint.py', 'replaced_while'),
    Protection('a replaced model is freed', (
        Edit('policy/policy.py', 'weakref.proxy(self)', 'self'),),
        'policy/test_policy_checkpoint.py', 'let_go'),
    Protection('a replaced model with soft tokens is freed', (
        Edit('policy/soft.py', 'weakref.proxy(model)', 'model'),),
        'policy/test_policy_checkpoint.py', 'let_go'),
    Protection('files are complete', (
        Edit(FILES, 'if not path.is_file():', 'if False:'),), MODEL_CASES,
        'missing_file or backbone_gone'),
    Protection('files have their size', (
        Edit(FILES, 'if size != entry.size:', 'if False:'),), MODEL_CASES, 'truncated_tensor'),
    Protection('files have their hash', (
        Edit(FILES, 'if found != entry.sha256:', 'if False:'),), MODEL_CASES, 'wrong_hash'),
    Protection('files that cannot be read are named', (
        Edit(FILES, """        except OSError as error:
            raise CheckpointError(
                f'{path}: cannot be read""", """        except ZeroDivisionError as error:
            raise CheckpointError(
                f'{path}: cannot be read"""),), MODEL_CASES, 'unreadable'),
    Protection('no files but those listed', (
        Edit(FILES, '    _refuse_unlisted(root, files, complete)\n', ''),), MODEL_CASES,
        'unlisted'),
    Protection('no pickles', (
        Edit(CHECKPOINT, '        refuse_pickles(checkpoint.path)\n', ''),), MODEL_CASES,
        'pickle_beside'),
    Protection('no Python files', (_NO_PY,), MODEL_CASES, 'code_inside'),
    Protection('no code is run', (
        _NO_PY, Edit('policy/hub.py', "'trust_remote_code': False", "'trust_remote_code': True")),
        MODEL_CASES, 'code_inside'),
    Protection('names stay in the folder', (_NO_CONFINING,), MODEL_CASES, 'traversal'),
    Protection('links stay in the folder', (_NO_LINK_CHECK,), MODEL_CASES, 'link_out'),
    Protection('newer formats', (
        Edit(CHECKPOINT, 'if version > FORMAT_VERSION:', 'if False:'),), MODEL_CASES, 'newer'),
    Protection('dimensions agree', (
        Edit(CHECKPOINT, 'if len(contract.command.fields) != normaliser.action_dim:',
             'if False:'),), MODEL_CASES, 'wrong_dimension'),
    Protection('contracts agree', (
        Edit(CHECKPOINT, '            checkpoint.check_contract(contract)\n',
             '            pass\n'),), MODEL_CASES, 'wrong_contract'),
    Protection('messages that are none are named', (
        Edit('rosless/subscription.py', 'except SerdeError as error:',
             'except ZeroDivisionError as error:'),), WIRE_CASES, 'messages'),
    Protection('a callback that raises does not end the node', (
        Edit('nodes/runner.py', '    except Exception as error:  # One bad callback',
             '    except ZeroDivisionError as error:  # One bad callback'),), WIRE_CASES,
        'requests'),
)
