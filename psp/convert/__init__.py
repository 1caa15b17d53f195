"""Convert published pSp, e4e and ReStyle files (`.pt`) to our models and back; sizes are read from the tensors."""

from psp.convert.export import export_problems, to_official
from psp.convert.inspection import inspect
from psp.convert.official import from_content, from_official
from psp.convert.verification import Check, verify

__all__ = ["Check", "export_problems", "from_content", "from_official", "inspect", "to_official", "verify"]
