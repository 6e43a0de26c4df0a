"""One drive in simulation: two nodes, watched from here until the task has ended."""

from __future__ import annotations

import argparse
import signal
import time
from pathlib import Path

from vla_nav.cli.domain import use_private_domain
from vla_nav.cli.drive import node_arguments
from vla_nav.cli.run_folder import RunFolder, write_json
from vla_nav.cli.status_line import StatusLine
from vla_nav.contract import Contract, contract_file
from vla_nav.nodes.processes import NodeProcesses, RunError, parameter_words

_START_TIMEOUT_S = 60.0
_MODEL_TIMEOUT_S = 300.0
_LINGER_S = 0.5
_FAULT_S = 3.0
"""A fault that nobody resumes for this long ends the run."""


class SimRun:
    """Starts the sim and the drive node, gives the instruction, watches, and keeps what it saw."""

    def __init__(self, args: argparse.Namespace, out: Path) -> None:
        self._args = args
        self._out = out
        self._nodes = NodeProcesses(out)
        self._ended: list[dict] = []

    def run(self) -> int:
        """Do it; returns 0 if the robot reached an object, 1 if not, 130 if interrupted."""
        from vla_nav.policy import resolve_model, validate

        args = self._args
        seeds = range(args.seed, args.seed + args.scenes)
        sentences = [self._choose_instruction(seed) for seed in seeds]
        contract = Contract.load(contract_file(args.robot))
        validate(resolve_model(args.model), contract)
        domain = use_private_domain(contract)
        print(f'ROS_DOMAIN_ID={domain}: so that `vla_nav say` and others reach it')
        self._folder = RunFolder(self._out)
        from vla_nav.nodes.monitor import Monitor

        self._status = StatusLine(self._out)
        self._monitor = Monitor(contract, lambda image, _: self._folder.add_image(image))
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        interrupted = False
        try:
            with self._status:
                self._start()
                for seed, sentence in zip(seeds, sentences):
                    self._drive(seed, sentence)
        except KeyboardInterrupt:
            interrupted = True
            self._folder.note(outcome='interrupted')
            self._keep(args.seed + len(self._ended))
        finally:
            self._nodes.end()
            self._monitor.close()
        ended = [figures for figures in self._ended if figures['outcome'] != 'interrupted']
        if args.scenes > 1 and ended:
            self._summarise(ended)
        if interrupted:
            return 130
        return 0 if any(figures['outcome'] == 'success' for figures in self._ended) else 1

    def _choose_instruction(self, seed: int) -> str:
        from vla_nav.nodes.sim_task import named_object
        from vla_nav.sim import sample_scene

        scene = sample_scene(seed, self._args.level)
        text = self._args.instruction or scene.instruction
        if named_object(scene, text) is None:
            names = ', '.join(thing.name for thing in scene.objects)
            raise RunError(f'instruction {text!r} fits no single object of this scene, so success '
                           f'cannot be judged; it has: {names}')
        return text

    def _start(self) -> None:
        args, status = self._args, self._status
        status.say('starting the simulated robot')
        self._nodes.start('sim', parameter_words(level=args.level, robot=args.robot,
                                                 seed=args.seed))
        self._nodes.wait(lambda: self._monitor.task, _START_TIMEOUT_S, 'the simulated robot')
        status.say('loading the model')
        self._nodes.start('drive', [*args.ros_args, *node_arguments(args)])
        self._nodes.wait(lambda: self._monitor.drive, _START_TIMEOUT_S, 'the drive node')
        self._nodes.wait(self._model_is_there, _MODEL_TIMEOUT_S, 'the model')

    def _drive(self, seed: int, sentence: str) -> None:
        """One scene, from its instruction to its outcome and its files."""
        monitor = self._monitor
        if self._args.scenes > 1:
            self._status.say(f'scene {seed}')
            self._folder = RunFolder(self._out / f'scene_{seed}')
        if self._ended:
            monitor.call('drive/stop')
            monitor.call('sim/next')
            self._nodes.wait(
                lambda: monitor.task['seed'] == seed and not monitor.outcome['instruction'],
                _START_TIMEOUT_S, f'scene {seed}')
        monitor.largest_gap_s = 0.0
        monitor.say(sentence)
        self._nodes.wait(
            lambda: (monitor.outcome or {}).get('instruction') == sentence
            and monitor.drive['instruction'] == sentence, _START_TIMEOUT_S,
            'the nodes to hear the instruction')
        if monitor.drive['state'] == 'STOPPED':
            monitor.call('drive/resume')
        self._watch()
        self._keep(seed)

    def _model_is_there(self) -> bool:
        drive = self._monitor.drive
        if drive['state'] == 'FAULT':
            raise RunError(drive['reason'])
        return drive['model'] is not None

    def _watch(self) -> None:
        fault_since_s = None
        while True:
            self._nodes.check()
            monitor = self._monitor
            text = self._status.typed()
            if text:
                monitor.say(text)
            self._folder.add_moment(monitor)
            self._status.show(monitor)
            outcome, drive = monitor.outcome, monitor.drive
            ended = self._outcome(outcome) if (
                outcome['instruction'] == drive['instruction']) else None
            if ended:
                break
            fault = drive['state'] in ('FAULT', 'STOPPED')
            fault_since_s = (fault_since_s or time.monotonic()) if fault else None
            if fault and time.monotonic() - fault_since_s > _FAULT_S:
                self._folder.note(outcome='fault', reason=drive['reason'])
                return
            time.sleep(0.1)
        # A moment more, for the video's end.
        time.sleep(_LINGER_S)
        self._folder.note(outcome=ended)

    @staticmethod
    def _outcome(outcome: dict) -> str | None:
        if outcome['outcome'] != 'running':
            return outcome['outcome']
        return 'wrong_object' if outcome['rested_at'] not in (None, outcome['target']) else None

    def _keep(self, seed: int) -> None:
        args = self._args
        files = self._folder.save(seed=seed, level=args.level, model=args.model, robot=args.robot)
        self._ended.append(self._folder.figures)
        self._status.conclude(self._folder.figures, files)

    def _summarise(self, ended: list[dict]) -> None:
        from vla_nav.evaluation.intervals import wilson

        count = len(ended)
        reached = sum(figures['outcome'] == 'success' for figures in ended)
        low, high = wilson(reached, count)
        summary = {
            'scenes': count, 'success': reached / count, 'success_low': low,
            'success_high': high, 'collisions': sum(
                figures['outcome'] == 'collision' for figures in ended),
            'attempts': ended}
        file = write_json(self._out / 'scenes.json', summary)
        print(f'{reached} of {count} scenes ({low:.0%} to {high:.0%} at 95 % confidence)')
        print(f'  {file}')
