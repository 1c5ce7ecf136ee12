"""A trained run as one file for programs without mmposter: pixels in, probabilities of genres out.

| file | what |
|---|---|
| `run.py` | `export_run`: from a run folder to a checked file, and the example beside it |
| `graph.py` | one module from pixels to probabilities |
| `resize.py` | the resize of training, to the last bit, in operators that a graph can hold |
| `formats.py` | how a graph is written and opened as ONNX or TorchScript |
| `symbols.py` | operators of our models that torch's ONNX exporter lacks |
| `check.py` | whether a file says what `mmposter predict` says |
| `example.py` | the program that stands beside the file |
"""

from mmposter.export.formats import FORMATS
from mmposter.export.run import Exported, export_run

__all__ = ["FORMATS", "Exported", "export_run"]
