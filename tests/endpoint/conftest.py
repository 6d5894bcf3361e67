"""The loopback server and the images that tests of the endpoint ask about."""

from ..inference.conftest import engine as engine
from ..inference.conftest import ground_truth as ground_truth
from ..inference.conftest import site as site
from ..inference.conftest import tiny as tiny
