"""Beginning, stopping and taking back a rollout: changes of what is wanted. Pure; `reconcile` carries them out."""

from cluster.admin.control import Refused
from cluster.supervisor.state import CellState, Rollout, RolloutPhase


def begin(state: CellState, settings: bytes, why: str, *, watched: bool = False) -> int:
    """From now on processes are of a new generation, with these settings; returns it. Raises Refused while one runs.

    `watched`: the first replica with another model is watched before others follow.
    """
    if state.rolling:
        raise Refused(f"the rollout to generation {state.generation} is still running")
    state.previous, state.last = state.starting_generation, state.last + 1
    state.settings[state.last] = settings
    return _go(state, state.last, why, watched=watched)


def stop(state: CellState) -> None:
    """Replace nothing more. Raises Refused when none runs."""
    if state.rollout is None or not state.rolling:
        raise Refused("no rollout is running")
    state.rollout.phase = RolloutPhase.STOPPED


def roll_back(state: CellState) -> int:
    """Back to the generation before, also from the middle; returns it. Raises Refused when there is none.

    Its model has judged mail before: nothing is watched.
    """
    if not state.previous:
        raise Refused("there is no generation to go back to")
    left = state.generation
    generation = _go(state, state.previous, f"back from generation {left}")
    state.previous = left
    return generation


def _go(state: CellState, generation: int, why: str, *, watched: bool = False) -> int:
    state.generation = generation
    state.rollout = Rollout(generation, RolloutPhase.RUNNING, why, watched=watched)
    for process in state.processes:
        process.failed = ""
    return generation
