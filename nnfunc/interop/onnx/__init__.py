"""ONNX (`pip install "nnfunc[onnx]"`): a model with its parameters for any ONNX runtime, and one from any ONNX file.

    onnx.save(to_onnx(model, ts, input_shape=(64,)), "digits.onnx")
    y, = onnxruntime.InferenceSession("digits.onnx").run(None, {"x": x})
    model, params, state = from_onnx("digits.onnx")

The graph is the prediction, `nn.predict`: the model's program, each call of a layer by the expression of a few
operators that its kernel says (`Kernel.onnx`). Its input "x" and output "y" (of several "x0", "x1", ..., "y0", "y1",
...) have the dtype of the parameters and any number of examples as their first axis; its initializers have the names of
the parameters and of the state ("dense1.W"). It needs operator set 17. The operators are chosen so that ONNX Runtime
has them for float32 and float64, and that nothing overflows. Its outputs differ from `nn.predict` by some units in the
last digit of the largest numbers; near 0 that may be all digits (its σ(−18) is 0 in float32). The exact `gelu` in
float64 is an integral there, with 32 times the memory of its inputs; `gelu(True)` is not. `OPERATORS` says which
operators a layer is made of.

What is read are the operators that are layers here (`supported()`), also of float16 and bfloat16, which become float32,
and the patterns of several operators that this package and PyTorch's exporter write for a layer. Read back are all
layers but `attention`, `rotary_positions`, and what uses its weights twice: `scan`.
"""

from nnfunc.interop.onnx._read import from_onnx, supported
from nnfunc.interop.onnx._table import OPERATORS
from nnfunc.interop.onnx._write import to_onnx

__all__ = ["OPERATORS", "from_onnx", "supported", "to_onnx"]
