"""ONNX (`pip install "nnfunc[onnx]"`): exports models with their parameters, and imports models from ONNX files.

    onnx.save(to_onnx(model, ts, input_shape=(64,)), "digits.onnx")
    y, = onnxruntime.InferenceSession("digits.onnx").run(None, {"x": x})
    model, params, state = from_onnx("digits.onnx")

The graph is the prediction, `nn.predict`: the model's program, with each call of a layer as the expression of a few
operators that its kernel defines (`Kernel.onnx`). Its input "x" and output "y" ("x0", "x1", ..., "y0", "y1", ... if
there are several) have the dtype of the parameters and any number of examples along the first axis; its initializers
are named after the parameters and the state ("dense1.W"). It uses operator set 17. The operators are chosen so that
ONNX Runtime supports them for float32 and float64, and that nothing overflows. Outputs differ from `nn.predict` by a
few units in the last digit of the largest values; near 0, this may affect all digits (its σ(−18) is 0 in float32). The
exact `gelu` in float64 is computed by an integral, with 32 times the memory of its inputs; `gelu(True)` is not.
`OPERATORS` lists the operators of each layer.

The reader supports operators that correspond to layers here (`supported()`), also in float16 and bfloat16, which become
float32, and the patterns of several operators that this package and PyTorch's exporter write for a layer. All exported
layers can be read back except `attention`, `rotary_positions`, and `scan`, which uses its weights repeatedly.
"""

from nnfunc.interop.onnx._read import from_onnx, supported
from nnfunc.interop.onnx._table import OPERATORS
from nnfunc.interop.onnx._write import to_onnx

__all__ = ["OPERATORS", "from_onnx", "supported", "to_onnx"]
