"""PyTorch classifiers as ONNX files, compared with ONNX Runtime before they are handed out."""

import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from holdfast.core.errors import InputError
from holdfast.targets.onnx import agree, reference


def export_onnx(module: nn.Module, example: Tensor, path: Path) -> Path:
    """Write the module in evaluation mode, for any number of rows.

    Args:
        module: gives one output for one input; left in the mode it was in.
        example: a few rows (N, ...) of the kind the module takes.
        path: where the file goes; written only when ONNX Runtime agrees to a relative 1e-5.

    Returns:
        The path.

    Raises:
        InputError: the module cannot be exported, or the export computes something else.
    """
    path = Path(path)
    modes = [(part, part.training) for part in module.modules()]
    device = next((p.device for p in module.parameters()), example.device)
    out = io.BytesIO()
    try:
        module.eval()
        with warnings.catch_warnings(), torch.no_grad():
            # the newer exporter needs a further package; this one is deprecated, not wrong
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (example[:1].to(device),),
                out,  # type: ignore[arg-type]  # this exporter writes to memory, too
                dynamo=False,
                input_names=["input"],
                output_names=["scores"],
                dynamic_axes={"input": {0: "rows"}, "scores": {0: "rows"}},
            )
            rows = torch.cat([example, example])[:5].to(device)
            ours = module(rows).cpu()
    except (RuntimeError, TypeError, ValueError, torch.onnx.OnnxExporterError) as error:
        raise InputError(
            "the model cannot be exported to ONNX",
            got=(str(error).strip() or type(error).__name__).splitlines()[0][:200],
            fix="use layers that ONNX has",
        ) from error
    finally:
        for part, mode in modes:
            part.training = mode
    content = out.getvalue()
    agree(ours, reference(content, rows.cpu(), None), path.name)
    path.write_bytes(content)
    return path
