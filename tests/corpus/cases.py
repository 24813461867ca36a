"""What a case of operators.py is."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Operand:
    array: np.ndarray
    constant: bool


def fixed(array, dtype=None):
    """An operand that is a constant of the model."""
    return Operand(np.asarray(array, dtype), True)


@dataclass
class Case:
    """One node. Operands are arrays (inputs), `fixed` ones (constants) or None (left out); `outputs` says for each
    result whether it is wanted; None stands for one that the node makes and nobody compares."""

    name: str
    op: str
    operands: list
    attributes: dict = field(default_factory=dict)
    outputs: tuple = (True,)
    domain: str = "com.microsoft"
    opset: int = 21

    def __post_init__(self):
        self.operands = [o if o is None or isinstance(o, Operand) else Operand(np.asarray(o), False) for o in self.operands]


def both_precisions(name, op, operands, *rest, **more):
    """The case in f32, and in f16 with its float operands converted."""

    def half(o):
        if o is None:
            return None
        array, constant = (o.array, o.constant) if isinstance(o, Operand) else (np.asarray(o), False)
        return Operand(array.astype(np.float16) if array.dtype == np.float32 else array, constant)

    yield Case(name, op, operands, *rest, **more)
    yield Case(f"{name}_f16", op, [half(o) for o in operands], *rest, **more)
