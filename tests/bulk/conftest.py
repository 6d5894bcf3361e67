"""Images and engines, as in tests/inference."""

from ..inference.conftest import engine as engine
from ..inference.conftest import ground_truth as ground_truth
from ..inference.conftest import site as site
from ..inference.conftest import tiny as tiny
